"""``parley doctor``: what this machine lacks, and how to mend it."""

from __future__ import annotations

from rich.console import Console

from parley.arguments import ArgumentParser
from parley.doctor import examine, healthy
from parley.settings import settings

_STYLE = {"ok": "green", "warning": "yellow", "missing": "red"}


def main(argv: list[str]) -> int:
    """Print one line a check; status 0 when calls can be answered here, 1 otherwise."""
    parser = ArgumentParser(prog="parley doctor", description=__doc__)
    parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    findings = examine(settings())
    for finding in findings:
        style = _STYLE[finding.status]
        mend = f"\n         {finding.mend}" if finding.mend else ""
        console.print(f"[{style}]{finding.status:<8}[/{style}] {finding.name}: {finding.detail}{mend}")
    return 0 if healthy(findings) else 1
