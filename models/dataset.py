"""A speech dataset for a bot: one step, one manifest, one digest.

Synthetic callers say drawn utterances of the bot; real recordings come from a manifest (JSON lines with ``audio``,
``speaker``, ``text``, ``speech_start``, ``speech_end``, ``intent``, ``slots``). Every row has a speaker-disjoint
split and a drawn telephone line (:mod:`models.channel`). Audio is stored dry, 8 kHz FLAC; dev and test rows are
heard through their row's line, training draws a new line each time it sees a row.

The digest names the content: the same bot, recordings, sizes and seed give the same digest.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from models.accents import accented
from models.caller_plans import Plan, alone_plans, foreign_plans, utterance_plans
from models.callers import synthesise
from models.channel import Channel, apply, draw_channel
from parley.audio import SAMPLE_RATE, Pcm, read_audio
from parley.bot import Bot
from parley.bot.slots import is_value
from parley.errors import ParleyError
from parley.files import canonical_json, sha256_file, write_atomic, write_json
from parley.progress import progress
from parley.text_files import json_objects, read_lines, split_lines

MANIFEST = "dataset.jsonl"
SUMMARY = "dataset.json"
SPLITS = ("train", "dev", "test")
WITHOUT = "without:"
"""A fold of this and the names of recorded speakers, a plus between them: tested on those, trained on all others."""
_AROUND_S = 0.3


@dataclass(frozen=True)
class Row:
    """One utterance of a dataset."""

    id: str
    audio: str
    """File, relative to the dataset folder."""
    sha256: str
    duration_s: float
    speaker: str
    split: str
    source: str
    """``synthetic`` or ``recording``."""
    text: str | None
    intent: str
    slots: dict[str, str]
    speech_start_s: float
    speech_end_s: float
    channel: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk."""

    path: Path
    digest: str
    rows: tuple[Row, ...]
    licence: str = ""
    bot: str = ""
    """Whose sentences it holds."""

    def split(self, name: str, source: str | None = None) -> list[Row]:
        """The rows of a split, of one source if given."""
        return [r for r in self.rows if r.split == name and source in (None, r.source)]

    def for_folds(self, folds: Sequence[int], seed: int) -> Dataset:
        """The same rows with the recorded speakers split for the cross-validation's ``folds``.

        With several, training hears only whom each of them may hear: the beginning that those folds share.
        """

        def split(row: Row) -> str:
            splits = {fold_split(row.speaker, seed, fold) for fold in folds}
            return next(name for name in ("test", "dev", "train") if name in splits)

        return replace(
            self, rows=tuple(replace(r, split=split(r)) if r.source == "recording" else r for r in self.rows)
        )

    def without(self, speakers: Sequence[str], seed: int) -> Dataset:
        """The same rows with some recorded speakers to test on; a tenth of everybody else's recordings is dev.

        Raises:
            ParleyError: nobody of such a name was recorded.
        """
        known = sorted({r.speaker for r in self.rows if r.source == "recording"})
        for speaker in speakers:
            if speaker not in known:
                mend = f"recorded speakers: {', '.join(known[:8]) or 'none'}"
                raise ParleyError(f"no recordings of {speaker!r}", where=str(self.path), mend=mend)

        def split(row: Row) -> str:
            return "test" if row.speaker in speakers else "dev" if _draw(row.id, seed) < 0.1 else "train"

        return replace(
            self, rows=tuple(replace(r, split=split(r)) if r.source == "recording" else r for r in self.rows)
        )

    def for_release(self) -> Dataset:
        """The same rows with every recorded speaker to train on: nothing is left to choose or to measure by."""
        return replace(self, rows=tuple(replace(r, split="train") if r.source == "recording" else r for r in self.rows))

    def dry(self, row: Row) -> Pcm:
        """The stored audio, before any line."""
        return read_audio(self.path / row.audio)

    def heard(self, row: Row) -> Pcm:
        """The audio through the row's own line."""
        return apply(self.dry(row), Channel(**row.channel))


def speech_of(pcm: Pcm, row: Row) -> Pcm:
    """A row's speech in its audio, 300 ms around it, silence where there is less: no call begins within a word."""
    start, end = (round(s * SAMPLE_RATE) for s in (row.speech_start_s - _AROUND_S, row.speech_end_s + _AROUND_S))
    return np.pad(pcm[max(0, start) : max(0, end)], (max(0, -start), max(0, end - len(pcm))))


def load_dataset(path: Path | str) -> Dataset:
    """Open a dataset.

    Raises:
        ParleyError: there is none, or its manifest is not what its digest says.
    """
    path = Path(path)
    if not (path / SUMMARY).is_file() or not (path / MANIFEST).is_file():
        raise ParleyError("no finished dataset here", where=str(path), mend="run: parley dataset --bot NAME --out DIR")
    summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
    text = (path / MANIFEST).read_text(encoding="utf-8")
    if sha256(text.encode()).hexdigest() != summary["digest"]:
        raise ParleyError(
            "manifest does not match its digest", where=str(path / MANIFEST), mend="make the dataset again"
        )
    rows = tuple(Row(**json.loads(line)) for line in split_lines(text))
    return Dataset(path, summary["digest"], rows, summary.get("licence", ""), summary.get("bot", ""))


def check_bot(dataset: Dataset, bot: str) -> None:
    """A model learns from its own bot's dataset.

    Raises:
        ParleyError: the dataset is another bot's; names both.
    """
    if dataset.bot != bot:
        raise ParleyError(
            f"a dataset of bot {dataset.bot or 'unknown'}, the model is for {bot}",
            where=str(dataset.path / SUMMARY),
            mend=f"make one: parley dataset --bot {bot} --out DIR",
        )


def load_split(path: Path | str, fold: str, seed: int) -> Dataset:
    """A dataset as a run splits it.

    ``none`` as its manifest says, ``all`` for a release, ``synthetic`` without recordings, ``without:NAME`` to test
    on one speaker (or several, a plus between them), else a fold's number, or the numbers of several.
    """
    dataset = load_dataset(path)
    if fold == "synthetic":
        return replace(dataset, rows=tuple(r for r in dataset.rows if r.source == "synthetic"))
    if fold == "all":
        return dataset.for_release()
    if fold.startswith(WITHOUT):
        named = fold.removeprefix(WITHOUT)
        # A number is a name, too, and begins with a plus.
        return dataset.without([named] if named in {r.speaker for r in dataset.rows} else named.split("+"), seed)
    return dataset if fold == "none" else dataset.for_folds([int(n) for n in fold.split("+")], seed)


def split_of(speaker: str, seed: int, dev: float = 0.1, test: float = 0.16) -> str:
    """A speaker's split, by a hash of the name: it stays put when other speakers come or go."""
    draw = _draw(speaker, seed)
    return "test" if draw < test else "dev" if draw < test + dev else "train"


def fold_of(speaker: str, seed: int, folds: int = 5) -> int:
    """A speaker's fold in cross-validation, by the same hash as :func:`split_of`: 0 to ``folds - 1``."""
    return int(_draw(speaker, seed) * folds)


def fold_split(speaker: str, seed: int, fold: int, folds: int = 5) -> str:
    """The split of a speaker when ``fold`` is the test: half a fold's worth of the following speakers is dev."""
    after = (_draw(speaker, seed) - fold / folds) % 1.0
    return "test" if after < 1 / folds else "dev" if after < 1.5 / folds else "train"


def _draw(speaker: str, seed: int) -> float:
    return int.from_bytes(sha256(f"{seed}|{speaker}".encode()).digest()[:8], "big") / 2**64


def make_dataset(
    bot: Bot, out: Path, *, recordings: Path | None, synthetic: int, seed: int, licence: str = "", jobs: int = 2,
    others: Sequence[str] = (), alone: bool = False, foreign: int = 0,
) -> Dataset:  # fmt: skip
    """Make (or finish) the dataset ``out``.

    Args:
        bot: whose utterances the synthetic callers say.
        out: folder; files that are there are kept, so an interrupted step resumes.
        recordings: manifest of real recordings, or None.
        synthetic: number of synthetic utterances.
        seed: every draw follows from it.
        licence: of the recordings; goes to the manifests of the models that learn from them.
        jobs: synthesisers at once.
        others: sentences that are not the bot's; one synthetic utterance in five is a piece of one, if there are any.
        alone: also the words of digits one by one, by every voice and by many with a foreign accent.
        foreign: number of synthetic utterances more, by voices with a foreign accent.

    Raises:
        ParleyError: a synthesiser is missing, the recordings' manifest is wrong (file, line, key), or words of digits
            are asked for and the bot has no digits.
    """
    if alone and not any(slot.type == "digits" for slot in bot.slots.values()):
        mend = "give a slot the type digits, or leave out --alone"
        raise ParleyError("words of digits for a bot that takes no digits", where=bot.name, mend=mend)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    rows = list(_recorded_rows(bot, recordings, out, seed)) if recordings else []
    plans = [*utterance_plans(bot, synthetic, seed, others), *foreign_plans(bot, foreign, seed, others)]
    plans += alone_plans(seed) if alone else ()
    with progress("synthetic callers", len(plans)) as bar, ThreadPoolExecutor(jobs) as pool:
        for row in pool.map(lambda plan: _synthetic_row(plan, out, seed), plans):
            rows.append(row)
            bar.advance()
    text = "".join(canonical_json(asdict(row)) + "\n" for row in rows)
    digest = sha256(text.encode()).hexdigest()
    write_atomic(out / MANIFEST, text)
    summary = {
        "digest": digest,
        "bot": bot.name,
        "bot_digest": bot.digest,
        "seed": seed,
        "licence": licence,
        "rows": {
            s: {k: sum(r.split == s and r.source == k for r in rows) for k in ("synthetic", "recording")}
            for s in SPLITS
        },
        "hours": round(sum(r.duration_s for r in rows) / 3600, 3),
    }
    write_json(out / SUMMARY, summary)
    return Dataset(out, digest, tuple(rows), licence, bot.name)


def _synthetic_row(plan: Plan, out: Path, seed: int) -> Row:
    # The name carries what is said and how, so a changed bot never reuses another utterance's audio.
    key = sha256(canonical_json([plan.text, asdict(plan.voice)]).encode()).hexdigest()[:16]
    file = out / "audio" / f"{plan.id}-{key}.flac"
    if not file.is_file():
        _write_flac(file, synthesise(accented(plan.text, plan.voice), plan.voice))
    pcm = read_audio(file)
    start, end = speech_bounds(pcm)
    return Row(
        plan.id,
        f"audio/{file.name}",
        sha256_file(file),
        round(len(pcm) / SAMPLE_RATE, 3),
        plan.voice.speaker,
        split_of(plan.voice.speaker, seed, 0.05, 0.05),
        "synthetic",
        plan.text,
        plan.intent,
        plan.slots,
        start,
        end,
        draw_channel(random.Random(f"{seed}|{plan.id}")).record(),
    )


def _recorded_rows(bot: Bot, manifest: Path, out: Path, seed: int) -> Iterator[Row]:
    for number, entry in enumerate(read_recordings(manifest, bot), start=1):
        source = manifest.parent / entry["audio"]
        pcm = read_audio(source)
        file = out / "audio" / f"rec-{sha256_file(source)[:16]}.flac"
        if not file.is_file():
            _write_flac(file, pcm)
        start, end = entry.get("speech_start"), entry.get("speech_end")
        if start is None or end is None:
            start, end = speech_bounds(pcm)
        identity = f"rec-{number:06d}"
        yield Row(
            identity,
            f"audio/{file.name}",
            sha256_file(file),
            round(len(pcm) / SAMPLE_RATE, 3),
            entry["speaker"],
            split_of(entry["speaker"], seed),
            "recording",
            entry.get("text"),
            entry["intent"],
            entry["slots"],
            start,
            end,
            Channel(low_hz=50, high_hz=4000).record(),
        )


def read_recordings(manifest: Path, bot: Bot | None = None) -> list[dict[str, Any]]:
    """Read a manifest of recordings.

    Args:
        manifest: JSON lines.
        bot: whose intents, slots and values they must be; an empty intent is speech that asks for nothing.

    Raises:
        ParleyError: names the line and the key that is missing, of the wrong type, or unknown to the bot.
    """
    if not manifest.is_file():
        raise ParleyError("no such manifest", where=str(manifest), mend="give a JSON-lines file of recordings")
    expected = {"audio": str, "speaker": str, "intent": str, "slots": dict}
    entries = []
    for where, entry in json_objects(manifest):
        for key, kind in expected.items():
            if not isinstance(entry.get(key), kind):
                raise ParleyError(f"{key}: expected {kind.__name__}", where=where, mend="see docs/data.md")
        if bot is not None:
            _check_meaning(bot, entry, where)
        entries.append(entry)
    return entries


def _check_meaning(bot: Bot, entry: dict[str, Any], where: str) -> None:
    """Raises:
    ParleyError: the intent, a slot or a value is none of the bot's.
    """
    intent = entry["intent"]
    if intent and intent not in bot.intents:
        known = ", ".join(sorted(bot.intents))
        what = f"intent: {bot.name} has no {intent!r}; it has: {known}"
        raise ParleyError(what, where=where, mend="correct it, or leave it empty where nothing is asked for")
    for slot, value in entry["slots"].items():
        if slot not in bot.slots:
            known = ", ".join(sorted(bot.slots)) or "none"
            raise ParleyError(f"slots: {bot.name} has no {slot!r}; it has: {known}", where=where, mend="correct it")
        if not isinstance(value, str) or not is_value(bot.slots[slot], value):
            raise ParleyError(
                f"slots.{slot}: {value!r} is no value of it", where=where, mend="write the bot's own value"
            )


def read_sentences(path: Path) -> list[str]:
    """Sentences of a text file, one a line: letters and apostrophes, lower case; others are left out.

    Raises:
        ParleyError: there is no such file, or no sentence in it.
    """
    if not path.is_file():
        raise ParleyError("no such file", where=str(path), mend="give a text file, a sentence a line")
    allowed = set("abcdefghijklmnopqrstuvwxyz' ")
    found = [line for line in map(str.strip, read_lines(path)) if line and set(line) <= allowed]
    if not found:
        raise ParleyError("no sentence in it", where=str(path), mend="a sentence a line, lower case, no digits")
    return found


def speech_bounds(pcm: Pcm) -> tuple[float, float]:
    """Start and end of speech in seconds, by energy: for audio without marks, with little noise."""
    frames = pcm[: len(pcm) // 160 * 160].astype(np.float32).reshape(-1, 160)
    power = 10 * np.log10(np.mean(frames**2, axis=1) + 1) if len(frames) else np.zeros(1)
    loud = np.flatnonzero(power > max(20.0, float(np.max(power)) - 40))
    if not len(loud):
        return 0.0, round(len(pcm) / SAMPLE_RATE, 3)
    return round(float(loud[0]) * 0.02, 3), round(float(loud[-1] + 1) * 0.02, 3)


def stored_digest(recording: Path) -> str:
    """SHA-256 by which a dataset knows a recording: of the file it stores, whatever the recording's own format.

    Raises:
        ParleyError: it is not telephone audio; says how to convert it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stored.flac"
        _write_flac(file, read_audio(recording))
        return sha256_file(file)


def recording_digests(recording: Path) -> tuple[str, str]:
    """The digests by which a version may know a recording: of the file itself, and as a dataset stores it.

    Raises:
        ParleyError: it is not telephone audio; says how to convert it.
    """
    return sha256_file(recording), stored_digest(recording)


def _write_flac(path: Path, pcm: Pcm) -> None:
    partial = path.with_name(f".{path.name}")
    soundfile.write(str(partial), pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    partial.replace(path)
