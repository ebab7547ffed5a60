"""The golden set: what a bot must go on understanding and saying, one item a line (docs/gate.md).

for item in read_golden(Path("bots/barista/golden.jsonl")):
    item.id, item.kind
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from judging import replies
from judging.paired import Sides, meaning
from models.channel import through_codec
from models.stored_audio import recording_digests
from orchestrator.wall_clock import CALL_RATE
from parley.audio import read_audio_at
from parley.bot.replies import says, spoken_values
from parley.errors import ParleyError
from parley.text_files import json_objects
from parley.utterances import text_digest
from registry.gating.gate import GoldenResult

Kind = Literal["text", "audio", "act"]


@dataclass(frozen=True)
class GoldenItem:
    """One thing that must stay right."""

    id: str
    kind: Kind
    """A text or a recording to understand, or an act to put into words."""
    given: str
    """The text, the act, or the recording's file."""
    slots: Mapping[str, str]
    intent: str = ""
    """What must be understood; empty is nothing, and of an act there is none."""
    say: tuple[str, ...] = ()
    """Of an act: the slots whose values must be said."""
    folder: Path = field(default_factory=Path)
    """Where the golden set lies: recordings are named from there."""

    @property
    def audio(self) -> Path:
        """The recording of an item of that kind."""
        return self.folder / self.given

    def digests(self) -> tuple[str, ...]:
        """The digests by which a version may know the item: of its words, or of its recording."""
        if self.kind == "act":
            return ()
        return (text_digest(self.given),) if self.kind == "text" else recording_digests(self.audio)


def read_golden(path: Path) -> list[GoldenItem]:
    """The items of a golden set; an empty list where the bot has none.

    Raises:
        ParleyError: a line is no item, or an id stands twice; names it.
    """
    if not path.is_file():
        return []
    items: dict[str, GoldenItem] = {}
    for where, entry in json_objects(path):
        item = _item(entry, path.parent, where)
        if item.id in items:
            raise ParleyError(f"the id {item.id!r} stands twice", where=where, mend="give every golden item its own")
        items[item.id] = item
    return list(items.values())


def _item(entry: Mapping[str, object], folder: Path, where: str) -> GoldenItem:
    kinds: list[Kind] = [kind for kind in ("text", "audio", "act") if kind in entry]
    name, slots, intent = entry.get("id"), entry.get("slots"), entry.get("intent", "")
    given = entry[kinds[0]] if kinds else None
    whole = len(kinds) == 1 and (kinds == ["act"] or "intent" in entry)
    if not (
        whole and isinstance(name, str) and isinstance(given, str) and isinstance(intent, str) and _are_texts(slots)
    ):
        raise ParleyError(
            "expected id, slots, and text or audio with intent, or act", where=where, mend="see docs/gate.md"
        )
    assert isinstance(slots, dict)
    say = entry.get("say", list(slots))
    if not isinstance(say, list) or not set(say) <= set(slots):
        raise ParleyError("say: expected names of its slots", where=where, mend="see docs/gate.md")
    return GoldenItem(name, kinds[0], given, slots, intent, tuple(say), folder)


def _are_texts(slots: object) -> bool:
    return isinstance(slots, dict) and all(isinstance(value, str) for value in slots.values())


async def ask_golden(sides: Sides, items: Sequence[GoldenItem]) -> list[GoldenResult]:
    """Ask both releases the golden items that a changed stage answers: texts, recordings, acts."""
    hears, words = sides.differ("nlu"), sides.differ("nlg")
    asked = {"text": hears, "audio": hears or sides.differ("stt"), "act": words}
    ask = {"text": _ask_text, "audio": _ask_audio, "act": _ask_act}
    return [await ask[kind](sides, item) for kind in asked for item in items if item.kind == kind and asked[kind]]


async def _ask_text(sides: Sides, item: GoldenItem) -> GoldenResult:
    mine, theirs = [await meaning(side, item.given) for side in (sides.champion, sides.candidate)]
    return _meant(item, mine[:2], theirs[:2])


async def _ask_audio(sides: Sides, item: GoldenItem) -> GoldenResult:
    pcm = through_codec(read_audio_at(item.audio, CALL_RATE), "ulaw")
    mine, theirs = [await side.listener.hear(pcm) for side in (sides.champion, sides.candidate)]
    return _meant(item, (mine.intent, mine.slots), (theirs.intent, theirs.slots))


def _meant(item: GoldenItem, mine: tuple[str, dict[str, str]], theirs: tuple[str, dict[str, str]]) -> GoldenResult:
    wanted = (item.intent, dict(item.slots))
    return GoldenResult(item.id, mine == wanted, theirs == wanted, _words(*wanted), _words(*theirs))


async def _ask_act(sides: Sides, item: GoldenItem) -> GoldenResult:
    """Every slot to be said is said, by the network."""
    said = []
    for side in (sides.champion, sides.candidate):
        text, whole = await replies.worded(side, item.given, dict(item.slots))
        wanted = {slot: item.slots[slot] for slot in item.say}
        said.append((text, whole and not says(text, spoken_values(side.bot, wanted), side.bot.speech)))
    return GoldenResult(item.id, said[0][1], said[1][1], _words(item.given, item.slots), said[1][0])


def _words(intent: str, slots: Mapping[str, str]) -> str:
    named = ", ".join(f"{k}={v}" for k, v in slots.items())
    return f"{intent or 'nothing'}({named})" if named else intent or "nothing"
