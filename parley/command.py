"""How a command begins and ends: UTF-8 whatever the locale; an expected failure is one line on standard error and exit
status 2, never a traceback; a reader that has gone is no failure."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from parley.errors import ParleyError

Main = Callable[[], int | None]


def exit_with(main: Main) -> NoReturn:
    """Run ``main`` and end the process with its status."""
    _speak_utf8()
    # Several processes share the machine's cores; each operator library would otherwise take them all.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # pydantic looks through every installed package for plugins, of which none is ours: 30 ms of each command's start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Whoever may write into a site's folders decides what it serves: nobody but its user, whatever the umask was.
    os.umask(os.umask(0o022) | 0o022)
    status = _status_of(main)
    sys.exit(_written_out(status))


def _status_of(main: Main) -> int:
    try:
        _check_arguments(sys.argv)
        return main() or 0
    except ParleyError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0  # the reader (head, less) has gone: nothing to tell anybody
    except OSError as error:  # a full disk, a folder closed to us; also of the file that the output goes to
        complain(f"{error.filename or 'a file or the output'}: {error.strerror or error}")
        return 2
    except SystemExit as end:  # argparse's, after --help or a wrong line
        return end.code if isinstance(end.code, int) else 2 if end.code else 0


def complain(text: str) -> None:
    """Say on standard error, in one line, what ended the command."""
    with suppress(OSError):  # nobody listens there
        print(f"parley: {' '.join(text.splitlines())}", file=sys.stderr, flush=True)


def _written_out(status: int) -> int:
    """The status, once everything printed is written; Python would do so later, and complain in words of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
            continue
        except BrokenPipeError:
            pass
        except OSError as error:
            complain(f"standard output could not be written: {error.strerror}")
            status = status or 2
        with suppress(OSError):  # what is left in the buffer goes nowhere, quietly
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


def _speak_utf8() -> None:
    """Begin anew in Python's UTF-8 mode where the locale says another encoding: file names, arguments, output and what
    the command starts are then the same everywhere. Text that is half a character is shown by its number.
    """
    if not sys.flags.utf8_mode and locale.getencoding().lower().replace("-", "") != "utf8":
        os.environ["PYTHONUTF8"] = "1"  # for processes that this one starts
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _check_arguments(argv: list[str]) -> None:
    for number, argument in enumerate(argv[1:], start=1):
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise ParleyError(f"argument {number}, {argument!r}, is not UTF-8 text", mend="type it in UTF-8")
