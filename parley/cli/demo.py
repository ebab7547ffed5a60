"""``parley demo``: serve the starter versions and let a synthetic caller order a coffee."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from parley.arguments import ArgumentParser
from parley.audio import write_wav
from parley.settings import settings

SAID = (
    "i'd like a medium latte with skim milk",
    "no make it a large",
    "yes that's right",
    "that's all thank you",
)


def main(argv: list[str]) -> int:
    """Start everything on a free port, place one call, print it, write its audio and its timeline, stop everything."""
    parser = ArgumentParser(prog="parley demo", description=__doc__)
    parser.add_argument("file", type=Path, nargs="*", help="recordings to call with instead of the synthetic caller's")
    parser.add_argument("--bot", default="barista")
    args = parser.parse_args(argv)

    from parley.cli import call
    from parley.cli.site import running_site
    from registry import belonging

    site = settings(port=0)  # any free port: a demonstration must not collide with a site that runs here
    belonging.repository(site)  # a wrong folder gets nothing written into it
    console = Console(stderr=True, highlight=False)
    files = args.file or synthetic_caller(site.state_dir / "demo")
    with running_site(args.bot, site, console) as app:
        return call.main([*map(str, files), "--url", app.address, "--out", str(site.state_dir / "demo")])


def synthetic_caller(folder: Path) -> list[Path]:
    """What the demo's caller says, spoken by a voice of the dataset's test split, over a noisy line.

    Raises:
        ParleyError: the synthesiser is missing; names the package.
    """
    from models.callers import Voice, synthesise
    from models.channel import Channel, apply

    voice, line = Voice("espeak", "en-us+Michael"), Channel(noise="pink", snr_db=25.0, seed=11)
    files = []
    for number, text in enumerate(SAID, start=1):
        path = folder / f"caller-{number}.wav"
        write_wav(path, apply(synthesise(text, voice), line))
        files.append(path)
    return files
