"""``parley bench quality|speed ...``: measure the four families: what they understand and say, how fast."""

from __future__ import annotations

import importlib

from parley.errors import ParleyError

BENCHES = {"quality": "benchmarks.quality.__main__", "speed": "benchmarks.speed.__main__"}
_USAGE = """usage: parley bench BENCH ...

  quality     every family on real data, the peers beside it; writes report.html
  speed       precision, size and speed of the graphs: ONNX Runtime in this process and Triton

parley bench BENCH --help says more."""


def main(argv: list[str]) -> int:
    """Hand the rest of the line to the bench."""
    if argv and argv[0] in ("-h", "--help"):
        print(_USAGE)
        raise SystemExit(0)
    if not argv or argv[0] not in BENCHES:
        given = argv[0] if argv else "nothing"
        raise ParleyError(f"expected a bench, got {given}", where="parley bench", mend=f"one of {', '.join(BENCHES)}")
    return importlib.import_module(BENCHES[argv[0]]).main(argv[1:]) or 0
