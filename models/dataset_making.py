"""Makes a bot's speech dataset: synthetic callers and real recordings, a name, a split and a telephone line for each.

Audio is stored dry, as FLAC; dev and test rows are heard through their row's line, training draws a new line each time
it sees a row. The same bot, recordings, sizes and seed give the same digest.

A row's name is a hash of its content, and so is its file's: of a recording the samples, the speaker and the words, of a
synthetic caller the words and the voice. What a row is does not depend on which others there are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np

from models.accents import accented
from models.caller_plans import ALONE, FOREIGN, SYNTHETIC, Plan, alone_plans, foreign_plans, utterance_plans
from models.callers import synthesise
from models.channel import Channel, draw_channel
from models.dataset import MANIFEST, SUMMARY, Dataset, Row
from models.splits import SPLITS, split_of
from models.stored_audio import write_flac
from parley.audio import TELEPHONE_RATE, Pcm, read_audio
from parley.bot import Bot
from parley.errors import ParleyError
from parley.files import canonical_json, sha256_file, sha256_json, write_atomic, write_json
from parley.language import Language
from parley.progress import progress
from parley.recordings import Recording

RECORDED = "rec-"
_KINDS = (RECORDED, SYNTHETIC, FOREIGN, ALONE)
"""How names begin, in the order in which a manifest lists them."""
_NAME_CHARS = 16
_FRAME_S = 0.02


def make_dataset(
    bot: Bot, out: Path, *, synthetic: int, seed: int, recordings: Sequence[Recording] = (), licence: str = "",
    jobs: int = 2, others: Sequence[str] = (), alone: bool = False, foreign: int = 0,
) -> Dataset:  # fmt: skip
    """Make (or finish) the dataset ``out``.

    Args:
        bot: whose utterances the synthetic callers say.
        out: folder; files that are there are kept, so an interrupted step resumes. Recordings that are no longer
            among ``recordings`` are removed from it.
        recordings: of real people, with the bot's labels (`parley.recordings.read_recordings`).
        synthetic: number of synthetic utterances.
        seed: every draw follows from it.
        licence: of the recordings; goes to the manifests of the models that learn from them.
        jobs: synthesisers at once.
        others: sentences that are not the bot's; one synthetic utterance in five is a piece of one, if there are any.
        alone: also the words of digits one by one, by every voice and by many with a foreign accent.
        foreign: number of synthetic utterances more, by voices with a foreign accent.

    Raises:
        ParleyError: a synthesiser is missing, a recording is no audio or holds the samples of another, or words of
            digits are asked for and the bot has no digits.
    """
    if alone and not any(slot.type == "digits" for slot in bot.slots.values()):
        mend = "give a slot the type digits, or leave out --alone"
        raise ParleyError("words of digits for a bot that takes no digits", where=bot.name, mend=mend)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    rows = list(_recorded_rows(recordings, out, seed))
    plans = [*utterance_plans(bot, synthetic, seed, others), *foreign_plans(bot, foreign, seed, others)]
    plans += alone_plans(bot.speech, seed) if alone else ()
    with progress("synthetic callers", len(plans)) as bar, ThreadPoolExecutor(jobs) as pool:
        for row in pool.map(lambda plan: _synthetic_row(plan, bot.speech, out, seed), plans):
            rows.append(row)
            bar.advance()
    made = _write(bot, out, rows, seed, licence)
    _remove_others(made)
    return made


def _write(bot: Bot, out: Path, rows: list[Row], seed: int, licence: str) -> Dataset:
    """Write manifest and summary; the summary last, which makes the dataset a finished one."""
    rows = in_order(rows)
    text = "".join(canonical_json(asdict(row)) + "\n" for row in rows)
    digest = sha256(text.encode()).hexdigest()
    write_atomic(out / MANIFEST, text)
    counts = {
        split: {kind: sum(r.split == split and r.source == kind for r in rows) for kind in ("synthetic", "recording")}
        for split in SPLITS
    }
    summary = {
        "digest": digest, "bot": bot.name, "bot_digest": bot.digest, "seed": seed, "licence": licence, "rows": counts,
        "hours": round(sum(r.duration_s for r in rows) / 3600, 3),
    }  # fmt: skip
    write_json(out / SUMMARY, summary)
    return Dataset(out, digest, tuple(rows), licence, bot.name)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The rows as a manifest lists them: by their kind, then by their name.

    Raises:
        ParleyError: two have one name.
    """
    rows = sorted(rows, key=lambda row: (next(n for n, kind in enumerate(_KINDS) if row.id.startswith(kind)), row.id))
    for row, after in pairwise(rows):
        if row.id == after.id:
            raise ParleyError(f"two rows are named {row.id}", where=row.speaker, mend="leave one of them out")
    return rows


def _remove_others(dataset: Dataset) -> None:
    """Recordings that were taken out of a dataset do not stay in its folder. Synthetic callers are nobody's voice."""
    kept = {dataset.path / row.audio for row in dataset.rows}
    for file in (dataset.path / "audio").glob(f"{RECORDED}*.flac"):
        if file not in kept:
            file.unlink()


# --- synthetic callers ------------------------------------------------------------------------------------------


def _synthetic_row(plan: Plan, language: Language, out: Path, seed: int) -> Row:
    # What is said and how makes the audio, so it is not made again where a file of that name is.
    name = plan.kind + sha256_json([plan.text, asdict(plan.voice)])[:_NAME_CHARS]
    file = out / "audio" / f"{name}.flac"
    if not file.is_file():
        write_flac(file, synthesise(accented(plan.text, plan.voice, language), plan.voice), TELEPHONE_RATE)
    pcm = read_audio(file)
    start, end = speech_bounds(pcm, TELEPHONE_RATE)
    return Row(
        id=name, audio=f"audio/{file.name}", sha256=sha256_file(file), duration_s=round(len(pcm) / TELEPHONE_RATE, 3),
        speaker=plan.voice.speaker, split=split_of(plan.voice.speaker, seed, 0.05, 0.05), source="synthetic",
        text=plan.text, intent=plan.intent, slots=plan.slots, speech_start_s=start, speech_end_s=end,
        channel=draw_channel(random.Random(f"{seed}|{name}")).record(),
    )  # fmt: skip


# --- recordings -------------------------------------------------------------------------------------------------


def _recorded_rows(recordings: Sequence[Recording], out: Path, seed: int) -> Iterator[Row]:
    seen: dict[str, Recording] = {}
    for recording in recordings:
        pcm = recording.samples(TELEPHONE_RATE)
        samples = sha256(pcm.tobytes()).hexdigest()
        first = seen.setdefault(samples, recording)
        if first is not recording:
            raise ParleyError(
                f"audio: {recording.audio} holds the same samples as {first.audio}",
                where=recording.where,
                mend="leave one of them out",
            )
        yield _recorded_row(recording, pcm, samples, out, seed)


def _recorded_row(recording: Recording, pcm: Pcm, samples: str, out: Path, seed: int) -> Row:
    name = RECORDED + sha256_json([samples, TELEPHONE_RATE, recording.speaker, recording.text])[:_NAME_CHARS]
    file = out / "audio" / f"{name}.flac"
    if not file.is_file():
        write_flac(file, pcm, TELEPHONE_RATE)
    start, end = recording.marks or speech_bounds(pcm, TELEPHONE_RATE)
    return Row(
        id=name, audio=f"audio/{file.name}", sha256=sha256_file(file), duration_s=round(len(pcm) / TELEPHONE_RATE, 3),
        speaker=recording.speaker, split=split_of(recording.speaker, seed), source="recording",
        text=recording.text, intent=recording.intent or "", slots=dict(recording.slots), speech_start_s=start,
        speech_end_s=end, channel=Channel(low_hz=50, high_hz=4000).record(), subject=recording.subject,
    )  # fmt: skip


def speech_bounds(pcm: Pcm, rate: int) -> tuple[float, float]:
    """Start and end of speech in seconds, by energy: for int16 samples ``[n]`` without marks, with little noise."""
    size = round(_FRAME_S * rate)
    frames = pcm[: len(pcm) // size * size].astype(np.float32).reshape(-1, size)
    power = 10 * np.log10(np.mean(frames**2, axis=1) + 1) if len(frames) else np.zeros(1)
    loud = np.flatnonzero(power > max(20.0, float(np.max(power)) - 40))
    if not len(loud):
        return 0.0, round(len(pcm) / rate, 3)
    return round(float(loud[0]) * _FRAME_S, 3), round(float(loud[-1] + 1) * _FRAME_S, 3)
