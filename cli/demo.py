"""``parley demo``: serve the starter versions and let a synthetic caller order a coffee."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from parley.arguments import ArgumentParser
from parley.settings import settings


def main(argv: list[str]) -> int:
    """Start everything on a free port, place one call, print it, write its audio and its timeline, stop everything."""
    parser = ArgumentParser(prog="parley demo", description=__doc__)
    parser.add_argument("file", type=Path, nargs="*", help="recordings to call with instead of the synthetic caller's")
    parser.add_argument("--bot", default="barista")
    args = parser.parse_args(argv)

    from calling.synthetic import synthetic_caller
    from cli import call
    from orchestrator.running import running_site
    from registry import belonging

    site = settings(port=0)  # any free port: a demonstration must not collide with a site that runs here
    belonging.repository(site)  # a wrong folder gets nothing written into it
    console = Console(stderr=True, highlight=False)
    files = args.file or synthetic_caller(site.state_dir / "demo")
    with running_site(args.bot, site, console) as app:
        return call.main([*map(str, files), "--url", app.address, "--out", str(site.state_dir / "demo")])
