"""``parley serve --bot NAME``: answer calls until interrupted."""

from __future__ import annotations

import signal
import threading

from rich.console import Console

from parley.arguments import ArgumentParser
from parley.settings import settings
from parley.typed import count


def main(argv: list[str]) -> int:
    """Start Triton and the Ray Serve application, and stop both on SIGINT or SIGTERM."""
    parser = ArgumentParser(prog="parley serve", description=__doc__)
    parser.add_argument("--bot", required=True)
    parser.add_argument("--port", type=int, help="default PARLEY_PORT, 8600")
    parser.add_argument("--engine", choices=("triton", "onnx"), help="default PARLEY_ENGINE, triton")
    parser.add_argument("--replicas", type=count, default=1, help="processes that take calls")
    args = parser.parse_args(argv)

    from orchestrator.running import running_site

    stop = threading.Event()
    console = Console(stderr=True, highlight=False)
    with running_site(args.bot, settings(port=args.port, engine=args.engine), console, replicas=args.replicas) as app:
        # Ray brings a handler of its own, which ends the process at once: ours come after it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        print(app.address, flush=True)
        console.print("Ctrl-C stops.")
        stop.wait()
    return 0
