"""HAProxy as Ray Serve starts it, made fit to stand at a site's door. A program of its own: it imports nothing of ours.

    python balancer.py HAPROXY HOST -db -f CONFIG …      # what Ray would have given to HAPROXY

Ray writes HAProxy's configuration from a template that its settings reach only in part. This stands between the two
(``RAY_SERVE_HAPROXY_BINARY_PATH``), edits the file, and stops where a line that it expects is not there. After that:

- pages and metrics listen on loopback, the admin socket is its owner's, only the front listens where the site does;
- a request's head comes within ten seconds, or the connection ends;
- replicas know the peer's address, whatever the peer claims;
- Ray hands on what a client sends as it is taken, instead of buffering all of it before our code has looked;
- paths are not logged, for they may hold the site's token.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

MARK = "# edited by parley\n"
HEAD_WITHIN_S = 10


class Unexpected(Exception):
    """Ray's template is not the one that is known here."""


def hardened(text: str, host: str, *, log: bool = False) -> str:
    """The configuration, edited.

    Args:
        text: as Ray wrote it.
        host: where the site listens.
        log: whether requests go to the log that the operator named.

    Raises:
        Unexpected: a line to be edited is missing or there twice.
    """
    if text.startswith(MARK):
        return text
    front = rf"""    bind {host}:\1
    option forwardfor
    http-request del-header x-forwarded-for
    http-request set-header x-request-disconnect-disabled ?1"""
    edits = [
        (r"^(    stats socket \S+ mode) 666 ", r"\1 600 "),
        (r"^defaults\n", f"defaults\n    timeout http-request {HEAD_WITHIN_S}s\n"),
        (r"(?<=^frontend prometheus\n)    bind :(\d+)$", r"    bind 127.0.0.1:\1"),
        (r"(?<=^listen stats\n)  bind \*:(\d+)$", r"  bind 127.0.0.1:\1"),
        (r"(?<=^frontend http_frontend\n)    bind \S+:(\d+)$", front),
    ]
    if not log:
        edits.append((r"^    log \S+ local0 info\n", ""))
    for pattern, new in edits:
        text, found = re.subn(pattern, new, text, flags=re.MULTILINE)
        if found != 1:
            raise Unexpected(f"{found} lines like {pattern!r} in HAProxy's configuration, expected one")
    return MARK + text


def main(arguments: Sequence[str]) -> None:
    """Edit the configuration and become HAProxy: Ray knows it by its process id."""
    program, host, *given = arguments
    if "-f" in given:
        config = Path(given[given.index("-f") + 1])
        log = "RAY_SERVE_HAPROXY_LOG_TARGET" in os.environ
        config.write_text(hardened(config.read_text(encoding="utf-8"), host, log=log), encoding="utf-8")
    os.execv(program, [program, *given])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, Unexpected) as error:
        sys.exit(f"balancer: {error}")
