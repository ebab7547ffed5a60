"""What a precision costs in the family's own figure, against fp32 on the same items.

Every variant answers through the client of its family and ONNX Runtime in this process. STT: word errors and commands
of recordings, clean mu-law; NLU: frames of drawn sentences that no training uses; NLG: slot errors of every act, set
of slots and style before the client's check, and replies that differ; TTS: word errors of PocketSphinx on the bot's
own replies, and the distance of log-mel bands to the fp32 voice.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from judging.replies import reply_texts, things_to_say
from models.channel import through_codec
from models.nlg.client import ActPromptClient, SlotErrors, Writer
from models.nlg.data import make_data as nlg_data
from models.nlg.evaluate import write_all
from models.nlu.client import JointBioClient
from models.nlu.data import Sizes
from models.nlu.data import make_data as nlu_data
from models.stt.client import PhoneCtcClient
from models.stt.evaluate import decode, edit_distance
from models.tts.client import HarmonicNoiseClient
from models.tts.evaluate import mel_distance_db, speak
from models.tts.recogniser import Recogniser, word_errors, words_of
from models.tts.text import Lexicon
from parley.audio import TELEPHONE_RATE, Pcm
from parley.bot import Bot
from parley.bot.slots import spot
from parley.errors import ParleyError
from parley.recordings import Recording, of_speakers, read_recordings
from parley.serving.engine import Engine
from parley.serving.onnx_engine import OnnxEngine
from registry.gating.statistics import cluster_bootstrap

Feeds = dict[str, NDArray[Any]]
_DRAWN_SEED = 20_261
"""Of the drawn sentences; no training uses it."""
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Material:
    """What the families are asked."""

    bot: Bot
    manifest: Path | None
    """Recordings for the STT."""
    speakers: tuple[str, ...] = ()
    """Only these of it; empty for all."""
    recordings: int = 60
    sentences: int = 500
    replies: int = 30


@dataclass(frozen=True)
class Scored:
    """One item: a sum and a size for each figure, and whose item it is (intervals are drawn over units)."""

    unit: str
    counts: dict[str, tuple[float, float]]
    answer: Any = None
    """What later variants are compared with."""


class RecordingEngine:
    """An engine that keeps the requests that pass through it: real inputs, with the state that streaming gives."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.requests: list[Feeds] = []
        self.busy_s = 0.0
        """Time spent in the engine."""

    async def infer(self, model: str, version: int, inputs: Mapping[str, NDArray[Any]], **_: Any) -> Feeds:
        """See `parley.serving.engine.Engine.infer`; a busy machine is no reason to fail here."""
        self.requests.append({name: np.array(array) for name, array in inputs.items()})
        began = time.perf_counter()
        answer = await self._engine.infer(model, version, inputs, timeout_s=_PATIENCE_S)
        self.busy_s += time.perf_counter() - began
        return answer

    async def ready(self, model: str, version: int) -> bool:
        """See `parley.serving.engine.Engine.ready`."""
        return await self._engine.ready(model, version)

    async def close(self) -> None:
        """See `parley.serving.engine.Engine.close`."""
        await self._engine.close()


Judge = Callable[[Path, RecordingEngine, Material, Sequence[Scored]], Awaitable[list[Scored]]]


async def judge_stt(bundle: Path, engine: RecordingEngine, material: Material, base: Sequence[Scored]) -> list[Scored]:
    """Word errors and accepted commands, the speech's boundaries given."""
    client = PhoneCtcClient(bundle, engine, "", 1)
    scored = []
    for recording in chosen_recordings(material):
        pcm = through_codec(recording.samples(TELEPHONE_RATE), "ulaw")
        heard = (await decode(client, recording.speech(pcm, TELEPHONE_RATE))).text
        said = (recording.text or "").split()
        right = float(spot(material.bot.slots, heard, material.bot.speech) == dict(recording.slots))
        counts = {"command_acceptance": (right, 1.0)}
        if said:
            counts["wer"] = (float(edit_distance(said, heard.split())), float(len(said)))
        scored.append(Scored(recording.speaker, counts, heard))
    return scored


def chosen_recordings(material: Material) -> list[Recording]:
    """Recordings of requests, spread over all speakers; the same choice for the same material.

    Raises:
        ParleyError: the material has none.
    """
    if material.manifest is None:
        raise ParleyError("no recordings", where="stt", mend="--manifest MANIFEST.jsonl of recordings")
    found = of_speakers(read_recordings(material.manifest), material.speakers, material.manifest)
    turns: dict[str, int] = {}
    order = []
    for one in sorted((one for one in found if one.intent), key=lambda one: one.audio):
        turns[one.speaker] = turns.get(one.speaker, 0) + 1
        order.append((turns[one.speaker], one.speaker, one))
    return [one for *_, one in sorted(order, key=lambda o: o[:2])][: material.recordings]


async def judge_nlu(bundle: Path, engine: RecordingEngine, material: Material, base: Sequence[Scored]) -> list[Scored]:
    """Whole frames right: intent and every slot."""
    client = JointBioClient(bundle, engine, "", 1)
    scored = []
    for row in nlu_data(material.bot, _DRAWN_SEED, Sizes(train=1, valid=1, test=material.sentences)).test:
        got = await client.parse(row.text)
        intent, frame = got.intent == row.intent, got.intent == row.intent and got.slots == dict(row.slots)
        counts = {"frame_accuracy": (float(frame), 1.0), "intent_accuracy": (float(intent), 1.0)}
        scored.append(Scored(row.text, counts, (got.intent, got.slots)))
    return scored


async def judge_nlg(bundle: Path, engine: RecordingEngine, material: Material, base: Sequence[Scored]) -> list[Scored]:
    """Slot errors of the network's own text, and whether the text is another than fp32's."""
    client, writer = ActPromptClient(bundle, engine, "", 1), Writer(bundle)
    rows = nlg_data(material.bot, _DRAWN_SEED).rows
    written = await write_all(client, writer, engine, rows, _DRAWN_SEED)  # type: ignore[arg-type]
    scored = []
    for number, one in enumerate(written):
        wrong = float(SlotErrors.of(one.raw, one.row.slots).total())
        counts = {"slot_error_rate": (wrong, float(len(one.row.slots)))}
        if base:
            counts["other_reply"] = (float(one.raw != base[number].answer), 1.0)
        scored.append(Scored(f"{one.row.act}|{','.join(one.row.slots)}", counts, one.raw))
    return scored


async def judge_tts(bundle: Path, engine: RecordingEngine, material: Material, base: Sequence[Scored]) -> list[Scored]:
    """Word errors of an independent ear, and the distance to fp32's audio of the same text in dB."""
    client = HarmonicNoiseClient(bundle, engine, "", 1)
    texts = reply_texts(material.bot, things_to_say(material.bot))
    texts = texts[:: max(1, len(texts) // material.replies)][: material.replies]
    ear = Recogniser(texts, Lexicon.load(bundle / "lexicon.json", material.bot.speech))
    scored = []
    for number, text in enumerate(texts):
        pcm: Pcm = (await speak(client, text)).pcm
        words = words_of(text, material.bot.speech)
        counts = {"wer": (float(word_errors(words, ear.hear(pcm))), float(len(words)))}
        if base:
            counts["mel_distance_db"] = (mel_distance_db(pcm, base[number].answer), 1.0)
        scored.append(Scored(text, counts, pcm))
    return scored


JUDGES: dict[str, Judge] = {"stt": judge_stt, "nlu": judge_nlu, "nlg": judge_nlg, "tts": judge_tts}


async def judge(
    family: str, bundle: Path, material: Material, base: Sequence[Scored]
) -> tuple[list[Scored], list[Feeds]]:
    """A variant's items, and the requests that its client made.

    Args:
        family: of `JUDGES`.
        bundle: the variant.
        material: what to ask.
        base: fp32's items; empty for fp32 itself.
    """
    async with OnnxEngine.from_bundle(bundle, threads=1) as engine:
        recording = RecordingEngine(engine)
        scored = await JUDGES[family](bundle, recording, material, base)
    return scored, recording.requests


def summarise(scored: Sequence[Scored], base: Sequence[Scored]) -> dict[str, Any]:
    """Each figure with its 95 % interval over units, and how far it is from fp32's on the same items, with its own."""
    names = list(dict.fromkeys(name for one in scored for name in one.counts))
    found: dict[str, Any] = {}
    for name in names:
        entry = _interval([(one.unit, *one.counts[name]) for one in scored if name in one.counts])
        pairs = [(m, b) for m, b in zip(scored, base, strict=True) if name in b.counts] if base else []
        if pairs:
            gap = _interval([(m.unit, m.counts[name][0] - b.counts[name][0], m.counts[name][1]) for m, b in pairs])
            entry |= {"change": gap["value"], "change_interval": gap["interval"]}
        found[name] = entry
    return found


def _interval(rows: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    units: dict[str, list[float]] = {}
    for unit, total, size in rows:
        held = units.setdefault(unit, [0.0, 0.0])
        held[0], held[1] = held[0] + total, held[1] + size
    sums, sizes = [u[0] for u in units.values()], [u[1] for u in units.values()]
    low, high = cluster_bootstrap(sums, sizes)
    value = sum(sums) / sum(sizes)
    return {"value": round(value, 5), "interval": [round(low, 5), round(high, 5)], "items": len(rows),
            "units": len(units)}  # fmt: skip
