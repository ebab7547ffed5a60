"""The one parser of command lines: nothing on a line is taken in silence.

An option that is given twice is refused (argparse takes the last), as is one that is abbreviated (it would mean another
thing once a longer one is added). Help shows the text as it was written, and each option's default.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_called_as: list[str] = []


@contextmanager
def called_as(command: str) -> Iterator[None]:
    """Within the block, parsers that name no command of their own are of this one: ``parley train stt``."""
    _called_as.append(command)
    try:
        yield
    finally:
        _called_as.pop()


class _Once(argparse._StoreAction):
    """Stores a value; a second one is an error."""

    given = False

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if self.option_strings and self.given:
            raise argparse.ArgumentError(self, "is given twice; give it once")
        self.given = True
        super().__call__(parser, namespace, values, option_string)


class _Help(argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.default not in (None, False, "", argparse.SUPPRESS) and action.option_strings
        if not shown or "default" in (action.help or "") or isinstance(action.default, list | tuple):
            return action.help
        return f"{action.help or ''} (default %(default)s)".strip()


def _module_that_runs() -> str | None:
    """``python -m models.stt.train``, where it is run so; None lets argparse name the script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else None


class ArgumentParser(argparse.ArgumentParser):
    """See the module's text."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not args:
            kwargs.setdefault("prog", _called_as[-1] if _called_as else _module_that_runs())
        kwargs.setdefault("formatter_class", _Help)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See argparse. Each parse counts anew."""
        for action in self._actions:
            if isinstance(action, _Once):
                action.given = False
        return super().parse_known_args(args, namespace)
