"""Configurations of trainings: frozen dataclasses whose fields are checked, kept in the run, and are the options of a
command line::

    @dataclass(frozen=True)
    class TrainConfig(Configuration):
        bot: str = field(metadata=said("name of a bot, or the path of its bot.yaml"))
        steps: int = knob(1000, "batches to learn from", least=1)

    train(TrainConfig("barista", steps=20), out)                                # from Python
    config = options_of(parser.parse_args(argv), TrainConfig)                   # after add_options(parser, TrainConfig)

A field without a help text is no option; a field's type is that of its annotation.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from parley.errors import ParleyError

T = TypeVar("T")
Kind = TypeVar("Kind", bound="Configuration")


def said(help: str, *, least: float = -math.inf, most: float = math.inf) -> Mapping[str, Any]:
    """A field's metadata: its help text, and the range its number must be in."""
    return {"help": help, "least": least, "most": most}


def knob(default: T, help: str, *, least: float = -math.inf, most: float = math.inf) -> T:
    """A field with a default."""
    return cast(T, dataclasses.field(default=default, metadata=said(help, least=least, most=most)))


@dataclass(frozen=True)
class Configuration:
    """What a family's configuration inherits: its numbers are checked when it is made.

    Raises:
        ParleyError: a number is outside its range; names the field.
    """

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if "least" not in one.metadata or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            least, most = one.metadata["least"], one.metadata["most"]
            if not least <= value <= most:
                wanted = f"{least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
                raise ParleyError(f"{one.name.replace('_', ' ')}: {value:g} is not {wanted}", mend="give another value")

    def parameters(self) -> dict[str, Any]:
        """The fields as JSON says them."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return content


def add_options(parser: argparse.ArgumentParser, kind: type[Configuration]) -> None:
    """An option for each field that has a help text: ``--look-every``, of the field's type, required without a default.

    A truth value is said (``--sentence-dropout true``), several values follow one another.
    """
    hints = get_type_hints(kind)
    for one in fields(kind):
        if "help" in one.metadata:
            _add_option(parser, one, hints[one.name])


def options_of(args: argparse.Namespace, kind: type[Kind], **others: Any) -> Kind:
    """The configuration that the options of :func:`add_options` give.

    Args:
        args: what the parser read.
        kind: the class.
        others: fields that are no options.

    Raises:
        ParleyError: a number is outside its range.
    """
    read = {one.name: getattr(args, one.name) for one in fields(kind) if "help" in one.metadata}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in read.items()}, **others)


def _add_option(parser: argparse.ArgumentParser, one: Field[Any], hint: Any) -> None:
    several = get_origin(hint) is tuple
    kinds = [part for part in get_args(hint) if part not in (type(None), ...)]
    single = kinds[0] if several or get_origin(hint) in (Union, types.UnionType) else hint
    choices = get_args(hint) if get_origin(hint) is Literal else None
    options: dict[str, Any] = {"type": _reader(str if choices else single), "help": one.metadata["help"]}
    if choices:
        options["choices"] = choices
    if several:
        options["nargs"] = "*"
    if one.default is MISSING:
        options["required"] = True
    else:
        options["default"] = list(one.default) if several else one.default
    parser.add_argument(f"--{one.name.replace('_', '-')}", **options)


def _reader(kind: type) -> Callable[[str], Any]:
    return _truth if kind is bool else kind


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"
