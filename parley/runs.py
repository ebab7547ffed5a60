"""Run directories: one folder per training run, with every parameter and figure as JSON.

``params.json`` what was asked for, ``metrics.jsonl`` one line a logged step, ``figures.json`` what was measured,
``checkpoint/`` the latest state, ``bundle/`` the exported version. Steps are mirrored to Weights & Biases, offline
unless ``WANDB_MODE`` says otherwise.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from parley.errors import ParleyError
from parley.files import write_json


class Run:
    """A run directory; see the module's text for its content."""

    def __init__(self, path: Path, params: dict[str, Any]) -> None:
        self.path = path
        self.params = params
        self._wandb: Any = None
        self._started = time.monotonic()

    @classmethod
    def create(cls, out: Path | str, family: str, bot: str, params: dict[str, Any], seed: int) -> Run:
        """Make (or continue) the run directory ``out`` and write its ``params.json``."""
        path = Path(out)
        path.mkdir(parents=True, exist_ok=True)
        content = {"family": family, "bot": bot, "seed": seed, **params}
        write_json(path / "params.json", content)
        run = cls(path, content)
        run._start_wandb(family, bot)
        return run

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open an existing run.

        Raises:
            ParleyError: ``path`` is not a run directory.
        """
        path = Path(path)
        file = path / "params.json"
        if not file.is_file():
            raise ParleyError(
                "not a run directory (no params.json)",
                where=str(path),
                mend="give the --out of a training run",
            )
        return cls(path, json.loads(file.read_text()))

    def _start_wandb(self, family: str, bot: str) -> None:
        # Offline keeps a run on this disk until `wandb sync`; tests and air-gapped sites say `disabled`.
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        if mode == "disabled":
            return
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        self._wandb = wandb.init(
            project="parley",
            group=f"{bot}-{family}",
            name=self.path.name,
            dir=str(self.path),
            config=self.params,
            mode=mode,
            settings=wandb.Settings(console="off", x_disable_stats=True, disable_git=True),
        )

    @property
    def checkpoint_path(self) -> Path:
        """Folder of the latest checkpoint."""
        return self.path / "checkpoint"

    @property
    def bundle_path(self) -> Path:
        """Folder of the exported bundle."""
        return self.path / "bundle"

    def log(self, step: int, **figures: float) -> None:
        """Append one line of figures to ``metrics.jsonl``."""
        row = {"step": step, "elapsed_s": round(time.monotonic() - self._started, 3), **figures}
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self._wandb:
            self._wandb.log(figures, step=step)

    def write_json(self, name: str, obj: Any) -> None:
        """Write ``obj`` into the run directory, atomically."""
        write_json(self.path / name, obj)

    def figures(self, **figures: Any) -> dict[str, Any]:
        """Merge ``figures`` into ``figures.json`` and return the whole of it."""
        file = self.path / "figures.json"
        merged = json.loads(file.read_text()) if file.is_file() else {}
        merged.update(figures)
        write_json(file, merged)
        return merged

    def finish(self) -> None:
        """Close the tracker's side of the run."""
        if self._wandb:
            self._wandb.finish()
            self._wandb = None
