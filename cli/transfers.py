"""What pushing and pulling print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from parley.progress import progress

if TYPE_CHECKING:
    from registry.housekeeping.shared import Report, Transfer


def run_transfers(doing: str, transfer: Callable[[Report], list[Transfer]]) -> int:
    """Run it, a line for each version and release; 1 when one was refused."""

    def say(done: Transfer) -> None:
        bar.advance()
        if done.problem is None:
            print(f"{done.subject}: {done.outcome}", flush=True)
        else:
            print(f"parley: {done.subject}: {done.outcome}: {done.problem}", file=sys.stderr, flush=True)

    with progress(doing) as bar:
        results = transfer(say)
    if not results:
        print("nothing to do")
    return 1 if any(result.problem for result in results) else 0
