"""Everything the gate's decision rests on, measured: :func:`gather` takes two releases and gives ``Evidence``.

What decides depends on what the candidate changes. Recordings judge the STT and the NLU together, as a caller meets
them; without recordings an NLU is judged by drawn sentences that neither version learned. Replies judge the NLG, what a
recogniser understands of them the TTS. The bot's golden items are asked of every changed stage that they test.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from calls.subjects import rows_in_versions_of
from judging import replies
from judging.footprint import memory_mb
from judging.golden import ask_golden, read_golden
from judging.paired import (
    Measured,
    Sentence,
    Sides,
    conditions,
    on_recordings,
    on_sentences,
    two_sides,
)
from models.nlu.data import OUT_OF_SCOPE, Sizes, make_data
from models.stored_audio import recording_digests
from parley.bot import Bot
from parley.bot.load import parse_bot
from parley.errors import ParleyError
from parley.files import sha256_json
from parley.recordings import Recording, of_speakers, read_recordings
from parley.utterances import text_digest, text_name
from registry import tables as t
from registry.gating.gate import Evidence, Leak, Purpose
from registry.gating.gate_rules import GOLDEN, GateRules
from registry.gating.leakage import TEST, leaked_speakers, leaks, unknown_lineage
from registry.releasing.documents import Release
from registry.releasing.releases import dialogue_text
from registry.site import Registry

DATASETS = "datasets"
"""Folder beside the bots, where `parley dataset` usually writes; speakers are looked up there."""
_DRAWN_SEED = 20_260
"""Of the drawn sentences; no training uses it."""


@dataclass(frozen=True)
class Materials:
    """What a comparison is made with."""

    utterances: Path | None = None
    """Manifest of recordings."""
    speakers: tuple[str, ...] = ()
    """Only these of it; empty for all."""
    noise: Path | None = None
    golden: Path | None = None
    """Else ``bots/<bot>/golden.jsonl``."""
    codec: str = "ulaw"
    sentences: int = 600
    """Drawn where no recordings are given."""


@dataclass
class Gathered:
    """Evidence, and what was heard and said, line by line."""

    evidence: Evidence
    rows: list[dict[str, Any]] = field(default_factory=list)


async def gather(
    registry: Registry, candidate: Release, against: Release, rules: GateRules, materials: Materials
) -> Gathered:
    """Measure both releases.

    Raises:
        ParleyError: something needed is missing (recordings for an STT), or a file is wrong.
    """
    bots = [_bot(registry, release) for release in (against, candidate)]
    golden = read_golden(materials.golden or registry.site.bots_dir / candidate.bot / GOLDEN)
    async with two_sides((against, bots[0]), (candidate, bots[1]), registry.site) as sides:
        changed = sides.changed()
        recordings = _recordings(materials, changed.keys())
        measured = Measured()
        items: dict[str, str] = {}
        sources: dict[str, str] = {}
        if materials.utterances and recordings and changed.keys() & {"stt", "nlu"}:
            items = {d: f"utterance {r.audio}" for r in recordings for d in recording_digests(r.path)}
            measured.add(await _heard(sides, rules, materials, recordings))
            sources |= {"recordings": materials.utterances.name, "noise": str(materials.noise or "")}
        elif "nlu" in changed:
            measured.add(await _read(registry, sides, bots[1], materials.sentences))
            sources["sentences"] = f"drawn, seed {_DRAWN_SEED}"
        if changed.keys() & {"nlg", "tts"}:
            measured.add(await _said(registry, sides, bots[1], sources))
        results = await ask_golden(sides, golden) if changed else []
        memory = _memory(registry, sides)
        sides.broken()
        faults = tuple(sides.candidate.faults)
    people = {r.speaker: r.subject for r in recordings} if items else {}
    items |= {digest: f"golden {item.id}" for item in golden for digest in item.digests()}
    sources["digest"] = sha256_json([sorted(pair.id for pair in measured.pairs), sorted(items)])
    lineage = _lineage(registry, candidate, changed.keys(), items, people)
    evidence = Evidence(
        candidate.bot, candidate.number, against.number, changed, measured.pairs, measured.costs(memory), results,
        *lineage, _purpose_of(registry, against), _earlier(registry, candidate.bot, sources["digest"]),
        sources, candidate.dialogue_digest != against.dialogue_digest, faults,
    )  # fmt: skip
    return Gathered(evidence, measured.rows)


def _bot(registry: Registry, release: Release) -> Bot:
    with registry.catalogue.read() as c:
        text = dialogue_text(c, release.dialogue_digest)
    return parse_bot(text, f"{release}, bot.yaml", taken_in=True)


def _recordings(materials: Materials, changed: Collection[str]) -> list[Recording]:
    if materials.utterances is None:
        if "stt" in changed:
            raise ParleyError(
                "a candidate with another STT is judged on recordings, and none are given",
                where="parley gate",
                mend="--utterances MANIFEST.jsonl with recordings of people it has not learned from (docs/data.md)",
            )
        return []
    return of_speakers(read_recordings(materials.utterances), materials.speakers, materials.utterances)


async def _heard(sides: Sides, rules: GateRules, materials: Materials, recordings: list[Recording]) -> Measured:
    fields = [rule.field for rule in rules.slices]
    under = conditions(materials.noise, rules.snr_db)
    return await on_recordings(sides, recordings, under, fields, materials.codec)


async def _read(registry: Registry, sides: Sides, bot: Bot, count: int) -> Measured:
    """Drawn sentences of the test share of the generator's split, less any that a version has met."""
    rows = make_data(bot, _DRAWN_SEED, Sizes(train=1, valid=1, test=count)).test
    fresh = {row.text: row for row in rows}
    met = _met(registry, sides, "nlu", fresh)
    return await on_sentences(
        sides,
        [
            Sentence(
                text_name(r.text), r.text, "" if r.intent == OUT_OF_SCOPE else r.intent, dict(r.slots),
                {"intent": "none" if r.intent == OUT_OF_SCOPE else r.intent, "condition": r.group},
            )
            for r in fresh.values()
            if r.text not in met
        ],
    )  # fmt: skip


async def _said(registry: Registry, sides: Sides, bot: Bot, sources: dict[str, str]) -> Measured:
    measured = Measured()
    things = replies.things_to_say(bot)
    if sides.differ("nlg"):
        known = set(sides.champion.bot.replies)
        measured.add(await replies.on_acts(sides, [one for one in things if one.act in known]))
    if sides.differ("tts"):
        texts = replies.reply_texts(bot, things)
        met = _met(registry, sides, "tts", texts)
        # A small bot's replies may all be known to its voice; then both voices know them alike.
        fresh = [text for text in texts if text not in met] or texts
        listener = await replies.listening(sides, fresh, registry.repo)
        measured.add(await replies.on_texts(sides, listener))
        sources["ear"] = listener.name
    return measured


def _met(registry: Registry, sides: Sides, stage: str, texts: Iterable[str]) -> set[str]:
    """The texts that one of a stage's two versions learned from."""
    versions = [v for side in (sides.champion, sides.candidate) if (v := side.version(stage))]
    with registry.catalogue.read() as c:
        return {leak.what for leak in leaks(c, versions, {text_digest(text): text for text in texts})}


def _memory(registry: Registry, sides: Sides) -> dict[str, tuple[float, float]]:
    found = {}
    for stage in sides.changed():
        versions = [side.version(stage) for side in (sides.champion, sides.candidate)]
        mb = [memory_mb(registry.repo / v[0] / str(v[1])) for v in versions if v]
        if len(mb) == 2:
            found[stage] = (mb[0], mb[1])
    return found


def _lineage(
    registry: Registry, candidate: Release, changed: Collection[str], items: dict[str, str], people: Mapping[str, str]
) -> tuple[list[Leak], list[str]]:
    """What the candidate learned of what it is judged on, and the changed versions of which nobody knows.

    Args:
        items: digest to a name for people.
        people: speaker to pseudonym, empty where none is known.
    """
    hears = [ref for stage, ref in candidate.stages.items() if stage in ("stt", "nlu")]
    versions = [(ref.model, ref.version) for ref in hears]
    new = [(ref.model, ref.version) for stage, ref in candidate.stages.items() if stage in changed]
    with registry.catalogue.read() as c:
        datasets = registry.site.bots_dir.resolve().parent / DATASETS
        found = {*leaks(c, versions, items), *leaked_speakers(c, versions, people, datasets)}
        found |= leaked_people(c, versions, people)
        unknown = unknown_lineage(c, [v for v in new if v in versions])
    return sorted(found, key=lambda leak: (leak.what, leak.learned_by)), unknown


def leaked_people(c: sa.Connection, versions: Collection[tuple[str, int]], people: Mapping[str, str]) -> set[Leak]:
    """People who are judged on and whom a version learned from, in whatever dataset and under whatever name."""
    return {
        Leak(f"speaker {speaker}", f"{use.version.model} {use.version.number}")
        for speaker, pseudonym in people.items()
        if pseudonym
        for use in rows_in_versions_of(c, pseudonym)
        if (use.version.model, use.version.number) in versions and use.split != TEST
    }


def _purpose_of(registry: Registry, release: Release) -> Purpose:
    """What a release was accepted as, last."""
    table = t.verdicts.c
    query = sa.select(table.report).where(
        table.bot == release.bot, table.candidate == release.number, table.accepted.is_(True)
    )
    with registry.catalogue.read() as c:
        report = c.scalar(query.order_by(table.id.desc()).limit(1))
    return "non-inferior" if report and report.get("purpose") == "non-inferior" else "better"


def _earlier(registry: Registry, bot: str, digest: str) -> int:
    with registry.catalogue.read() as c:
        reports = c.scalars(sa.select(t.verdicts.c.report).where(t.verdicts.c.bot == bot))
        return sum((report.get("sources") or {}).get("digest") == digest for report in reports)
