"""How a command ends: an expected failure is one line on standard error and exit status 2, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from parley.errors import ParleyError

Main = Callable[[], int | None]


def exit_with(main: Main) -> NoReturn:
    """Run ``main`` and end the process with its status."""
    # Several processes share the machine's cores; each operator library would otherwise take them all.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # pydantic looks through every installed package for plugins, of which none is ours: 30 ms of each command's start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        status = main() or 0
    except ParleyError as error:
        print(f"parley: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing to tell anybody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
