"""What a training leaves in its run directory for the export and the evaluation, and how they read it.

``params.json`` holds every parameter, ``bot.yaml`` the text of the bot as the training read it: what is exported from a
run is of that bot, whatever has become of its file since.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.configuration import Configuration
from parley.bot import Bot, load_bot
from parley.bot.load import find_bot, parse_bot, read_bot_text
from parley.bundle import Lineage
from parley.errors import ParleyError
from parley.files import sha256_file, write_atomic
from parley.runs import Run
from parley.settings import settings
from parley.text_files import read_json_object

_BOT = "bot.yaml"
"""Its text, not its content as sorted JSON: what is drawn from a bot depends on the order of its parts."""
_KEPT = ("best", "average")
"""Folders of weights in a run, the first that is there counts. ``average`` is what earlier trainings of voices kept."""
_PLACES = ("data", "bot_path", "corpus", "taught", "init", "noise", "encoder", "teachers", "texts")
"""Parameters that say where something lay. What was there has a digest; the place may change in a resumed run."""
_FREE = ("minutes", *_PLACES)
"""Parameters that a resumed run may have otherwise."""
_WEIGHTS, _FILES = ("init", "teachers"), ("noise", "taught")
"""Places of runs whose weights are read, and of files: :class:`Beginning` writes down the digest of what lies there. A
training gives that of its dataset, corpus, texts and encoder, which it reads."""


@dataclass(frozen=True)
class Beginning:
    """What a training is asked for, before its run directory is touched."""

    family: str
    name: str
    """Of the bot or corpus."""
    config: Configuration
    """Every parameter; its ``bot`` is ``bot_path`` in the run, whose own ``bot`` is the name."""
    seed: int
    bot: Bot | None = None
    """Its text is kept in the run."""

    def check_resumed(self, out: Path, **more: str | list[str]) -> None:
        """A run that is continued must have been started so.

        Args:
            out: the run directory; nothing is checked where there is none.
            more: what else must be as it was: digests of data.

        Raises:
            ParleyError: names the parameters that differ.
        """
        if (out / "params.json").is_file():
            asked = {"family": self.family, "bot": self.name, "seed": self.seed, **self._asked(more)}
            check_same_run(out, asked, _FREE)

    def run(self, out: Path, *, resume: bool, **more: str | list[str]) -> Run:
        """Make the run directory, or go on with the one that is there; what is begun anew forgets its weights.

        Args:
            out: the directory.
            resume: the run goes on, if there is one.
            more: what is written beside the parameters: digests of data.

        Raises:
            ParleyError: the run was started with other parameters; names each. Or it would begin with its own weights.
        """
        resume = resume and (out / "params.json").is_file()
        init = self.config.parameters().get("init")
        if init and not resume and Path(init).resolve() == out.resolve():
            raise ParleyError("a run cannot begin with its own weights", where=str(out), mend="give another --out")
        asked = self._asked(more)
        text = _text_of(self.bot, asked["bot_path"]) if self.bot else ""
        if self.bot:
            asked["bot_text_digest"] = _sha256(text)
        if resume:
            self.check_resumed(out, **more)
        else:
            forget_weights(out)
        run = Run.create(out, self.family, self.name, asked, self.seed, resume=resume)
        if self.bot:
            write_atomic(out / _BOT, text)
        return run

    def _asked(self, more: Mapping[str, str | list[str]]) -> dict[str, Any]:
        asked = self.config.parameters()
        places = [place for place in (*_WEIGHTS, *_FILES) if place in asked]
        asked |= {f"{place}_digest": _digest_at(place, asked[place]) for place in places} | dict(more)
        asked.pop("seed", None)
        if self.bot:
            asked |= {"bot_path": asked.pop("bot"), "bot_digest": self.bot.digest}
        return asked


def _digest_at(place: str, path: str | list[str] | None) -> str | list[str]:
    """Digest of what lies at a place, of each of several, or "" where there is none."""
    if isinstance(path, list):
        return [_sha256_at(place, Path(one)) for one in path]
    return _sha256_at(place, Path(path)) if path else ""


def _sha256_at(place: str, path: Path) -> str:
    if place in _WEIGHTS:
        return sha256_file(weights_to_begin_with(path) / "model.safetensors")
    if not path.is_file():
        raise ParleyError(f"no such file to take as {place}", where=str(path), mend="check the path")
    return sha256_file(path)


def _text_of(bot: Bot, source: str) -> str:
    """The text that a bot was just read from.

    Raises:
        ParleyError: it has changed since.
    """
    file = find_bot(source, settings())
    text = read_bot_text(file)
    if parse_bot(text, str(file), taken_in=True).digest != bot.digest:
        raise ParleyError("the bot changed while its training began", where=str(file), mend="train again")
    return text


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check_same_run(out: Path, asked: Mapping[str, Any], free: Collection[str] = ()) -> None:
    """A run that is continued must have been started with the same parameters.

    Where a run of an earlier Parley wrote no digest of what lay at a place, the place itself must be the same.

    Args:
        out: the run directory.
        asked: parameters by name, as JSON says them.
        free: names of those that may differ.

    Raises:
        ParleyError: names the parameters that differ; there is no run.
    """
    before = Run.open(out).params

    def same(name: str) -> bool:
        place = name.removesuffix("_digest")
        compared = place if name not in before and place in asked else name
        return bool(before.get(compared) == asked[compared])

    differ = [
        f"{name} = {before.get(name, 'unknown')}, not {value}"
        for name, value in asked.items()
        if name not in free and not same(name)
    ]
    if differ:
        raise ParleyError(
            f"the run was started with {'; '.join(differ)}", where=str(out),
            mend="give the same parameters, or another --out",
        )  # fmt: skip


def has_checkpoint(path: Path) -> bool:
    """Whether a checkpoint lies in ``path``, or was just being replaced there."""
    old = path.with_name(f".{path.name}.old")
    if not path.exists() and old.exists():
        old.rename(path)
    return (path / "state.json").is_file()


def kept_weights(run: Path) -> Path | None:
    """The checkpoint whose weights a run stands for; None where there is none yet."""
    return next((run / name for name in _KEPT if has_checkpoint(run / name)), None)


def weights_to_begin_with(run: Path) -> Path:
    """The checkpoint of another run to begin with, or to learn from.

    Raises:
        ParleyError: it holds no weights.
    """
    found = kept_weights(run)
    if found is None:
        raise ParleyError(
            "no weights to begin with", where=str(run),
            mend="name the --out of a training run; a published version holds a graph that cannot be trained",
        )  # fmt: skip
    return found


def forget_weights(run: Path) -> None:
    """Remove what an earlier training left in a run directory where another begins."""
    for name in (*_KEPT, "checkpoint", ".checkpoint.old", ".checkpoint.new"):
        shutil.rmtree(run / name, ignore_errors=True)


def finished_run(path: Path, family: str) -> Run:
    """A run whose weights can be exported.

    Raises:
        ParleyError: no such run, or no weights.
    """
    run = Run.open(path)
    if run.params.get("family") != family or kept_weights(path) is None:
        raise _not_trained(path, family)
    return run


def check_family(run: Run, family: str) -> None:
    """A family's verbs are given its own runs.

    Raises:
        ParleyError: it is another family's.
    """
    if run.params.get("family") != family:
        raise _not_trained(run.path, family)


def _not_trained(path: Path, family: str) -> ParleyError:
    return ParleyError(f"not a trained {family} run", where=str(path), mend=f"run `parley train {family}` to its end")


def bot_of(run: Run) -> Bot:
    """The bot that a training saw.

    Raises:
        ParleyError: what the run keeps of it is damaged; or it keeps nothing, being of an earlier Parley, and the bot
            has changed since.
    """
    kept = run.path / _BOT
    if "bot_text_digest" in run.params:
        text = read_bot_text(kept)
        if _sha256(text) != run.params["bot_text_digest"]:
            raise ParleyError("not the bot of the training: it was changed", where=str(kept), mend="train again")
        return parse_bot(text, str(kept), taken_in=True)
    bot = load_bot(run.params.get("bot_path", run.params["bot"]))
    if bot.digest != run.params.get("bot_digest"):
        raise ParleyError(
            f"the bot has changed since the training, and a run of an earlier Parley keeps no {_BOT}",
            where=str(run.path), mend="train again, or put the bot.yaml of the training back",
        )  # fmt: skip
    return bot


def check_data(run: Run, digest: str, where: str) -> None:
    """What a run learned from must be what it was: an evaluation on other rows may test on what was learned.

    Raises:
        ParleyError: it has changed since the training.
    """
    said = (run.params.get("dataset_digest"), run.figures().get("dataset_digest"), run.params.get("corpus_digest"))
    trained = next((str(found) for found in said if found), "")
    if digest != trained:
        raise ParleyError(
            f"the dataset is {digest[:12]} now, the training saw {trained[:12] or 'another'}",
            where=where,
            mend="train again, or put the dataset of the training back",
        )


def lineage_of(run: Run, dataset_digest: str) -> Lineage:
    """Where a version of the run comes from.

    :func:`told_params` says what is said of its parameters.
    """
    return Lineage(
        **git_lineage(), dataset_digest=dataset_digest, bot_digest=run.params.get("bot_digest", ""),
        params=told_params(run), seed=run.params["seed"], environment=environment(),
    )  # fmt: skip


def told_params(run: Run) -> dict[str, Any]:
    """The parameters of a run, as a version or a report tells them, without its seed.

    Where things lay on the machine that trained is nobody's business elsewhere: of a path the name stays.
    """
    left_out = ("seed", "data", "bot_path")
    return {
        name: _name_of(value) if name in _PLACES else value
        for name, value in run.params.items()
        if name not in left_out
    }


def _name_of(place: str | list[str] | None) -> str | list[str] | None:
    if isinstance(place, list):
        return [Path(one).name for one in place]
    return Path(place).name if place else place


def read_run_json(run: Run, name: str) -> dict[str, Any]:
    """A JSON object that the training wrote into the run.

    Raises:
        ParleyError: it is not there (the training did not get far), or it is damaged.
    """
    file = run.path / name
    if not file.is_file():
        raise ParleyError(f"no {name}", where=str(run.path), mend="run the training to its end")
    return read_json_object(file)


def git_lineage() -> dict[str, Any]:
    """Commit of the working tree and whether it differs from it; empty outside a checkout."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], capture_output=True, text=True, encoding="utf-8")
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return {"git_commit": commit, "git_dirty": bool(commit and git("status", "--porcelain", "-uno"))}


def environment() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "transformers", "onnx", "onnxruntime-gpu", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
