"""The starter versions in a repository of their own: those that a bot's ``release.json`` names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_starters(bot: str, repo: Path) -> dict[str, Path]:
    """Copy them into ``repo``; the directory of each stage's version there."""
    seed = json.loads((ROOT / "bots" / bot / "release.json").read_text())
    copied = {}
    for stage, ref in seed["stages"].items():
        version = Path(ref["model"]) / str(ref["version"])
        copied[stage] = Path(shutil.copytree(ROOT / "triton_repo" / version, repo / version))
    return copied
