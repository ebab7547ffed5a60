"""Run directories: one folder per training run, with every parameter and figure as JSON.

``params.json`` what was asked for, ``metrics.jsonl`` one line a logged step, ``figures.json`` what was measured,
``checkpoint/`` the latest state, ``bundle/`` the exported version. Steps are mirrored to Weights & Biases, offline
unless ``WANDB_MODE`` says otherwise; ``tracking.json`` names the run there, and a published version is logged on that
run as an artifact (:func:`log_version`), so that each names the other.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

from parley.errors import ParleyError
from parley.files import write_atomic, write_json
from parley.text_files import read_json_object

LOG = logging.getLogger(__name__)
TRACKING = "tracking.json"
_INIT_TIMEOUT_S = 30.0
"""How long a publish waits for the tracker's server before it goes on without."""


class Run:
    """A run directory; see the module's text for its content."""

    def __init__(self, path: Path, params: dict[str, Any]) -> None:
        self.path = path
        self.params = params
        self._wandb: Any = None
        self._started = time.monotonic()

    @classmethod
    def create(
        cls, out: Path | str, family: str, bot: str, params: dict[str, Any], seed: int, *, resume: bool = False
    ) -> Run:
        """Make (or continue) the run directory ``out`` and write its ``params.json``.

        ``resume`` goes on with the tracker's run as well.
        """
        path = Path(out)
        path.mkdir(parents=True, exist_ok=True)
        content = {"family": family, "bot": bot, "seed": seed, **params}
        write_json(path / "params.json", content)
        run = cls(path, content)
        run._start_wandb(family, bot, resume)
        return run

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open an existing run.

        Raises:
            ParleyError: ``path`` is not a run directory, or its ``params.json`` is damaged.
        """
        path = Path(path)
        file = path / "params.json"
        if not file.is_file():
            raise ParleyError(
                "not a run directory (no params.json)",
                where=str(path),
                mend="give the --out of a training run",
            )
        return cls(path, read_json_object(file))

    def _start_wandb(self, family: str, bot: str, resume: bool) -> None:
        if _wandb_mode() == "disabled":
            return
        before = _tracked(self.path) if resume else {}
        same = {"id": before["id"], "resume": "allow"} if before else {}
        self._wandb = _open_wandb(
            self.path, project="parley", group=f"{bot}-{family}", name=self.path.name, config=self.params, **same
        )
        write_json(
            self.path / TRACKING,
            {"entity": self._wandb.entity, "project": self._wandb.project, "id": self._wandb.id},
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
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._wandb:
            self._wandb.log(figures, step=step)

    def forget_after(self, step: int) -> None:
        """Drop the lines of ``metrics.jsonl`` behind ``step``: a resumed training writes them again."""
        file = self.path / "metrics.jsonl"
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            write_atomic(file, "".join(line for line in lines if _step_of(line) <= step))

    def write_json(self, name: str, obj: Any) -> None:
        """Write ``obj`` into the run directory, atomically."""
        write_json(self.path / name, obj)

    def figures(self, **figures: Any) -> dict[str, Any]:
        """Merge ``figures`` into ``figures.json`` and return the whole of it.

        Raises:
            ParleyError: the file is damaged.
        """
        file = self.path / "figures.json"
        merged = read_json_object(file) if file.is_file() else {}
        merged.update(figures)
        write_json(file, merged)
        return merged

    def finish(self) -> None:
        """Close the tracker's side of the run."""
        if self._wandb:
            self._wandb.finish()
            self._wandb = None


def _step_of(line: str) -> float:
    """The step of a line of figures; a torn one, of a run that was killed, is behind every step."""
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return math.inf


def tracking(run_path: Path, model: str, number: int) -> dict[str, str]:
    """What a version's lineage says of the tracker: its run, and the artifact that will stand for the version there.

    Returns:
        ``run`` as ``entity/project/id`` (without the entity where it was offline) and ``artifact`` as ``name:alias``;
        nothing for a training that was not mirrored.
    """
    found = _tracked(run_path)
    if not found:
        return {}
    parts = (found["entity"], found["project"], found["id"])
    return {"run": "/".join(part for part in parts if part), "artifact": f"{model}:{_alias(number)}"}


def log_version(run_path: Path, model: str, number: int, metadata: dict[str, Any], reference: str) -> bool:
    """Log a published version as an artifact on the very run that mirrored its training.

    The version is published already, so nothing that goes wrong here is raised: it is logged as a warning.

    Args:
        run_path: run directory of the training.
        model: the version's model, and the artifact's name.
        number: the version; the artifact's alias is ``parley-<number>``.
        metadata: what identifies the version: its digests.
        reference: where the version lies, as a URI; its files are not copied.

    Returns:
        Whether the artifact was logged.
    """
    found = _tracked(run_path)
    if not found or _wandb_mode() == "disabled":
        return False
    try:
        import wandb

        # resume: the same id continues the run, offline too: `wandb sync` then uploads both parts, oldest first.
        run = _open_wandb(
            run_path, entity=found["entity"] or None, project=found["project"], id=found["id"], resume="allow"
        )
        try:
            artifact = wandb.Artifact(model, type="model", metadata={"model": model, "version": number, **metadata})
            artifact.add_reference(reference, name=f"{model}-{number}", checksum=False)
            run.log_artifact(artifact, aliases=[_alias(number)])
        finally:
            run.finish()
    except Exception as error:  # the tracker's errors are many and of no common kind; the publish stands
        LOG.warning("%s version %d is published, but not logged on wandb: %s", model, number, error)
        return False
    return True


def _tracked(run_path: Path) -> dict[str, str]:
    """The tracker's run, where there is one."""
    try:
        found = json.loads((run_path / TRACKING).read_text(encoding="utf-8"))
        return {key: str(found[key] or "") for key in ("entity", "project", "id")}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOG.warning("%s is damaged, so the version will not name its wandb run: %s", run_path / TRACKING, error)
        return {}


def _alias(number: int) -> str:
    return f"parley-{number}"  # `v3` would be wandb's own


def _wandb_mode() -> str:
    # Offline keeps a run on this disk until `wandb sync`; tests and air-gapped sites say `disabled`.
    return os.environ.get("WANDB_MODE", "offline")


def _open_wandb(folder: Path, **arguments: Any) -> Any:
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    mode: Any = _wandb_mode()
    quiet = wandb.Settings(console="off", x_disable_stats=True, disable_git=True, init_timeout=_INIT_TIMEOUT_S)
    return wandb.init(dir=str(folder), mode=mode, settings=quiet, **arguments)
