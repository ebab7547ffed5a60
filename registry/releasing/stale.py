"""Whether versions were trained on the bot file that they are to answer with.

A release answers with its own bot.yaml, but much of what callers hear and may say was learned: the NLG says the replies
it was trained on, the NLU knows the values and phrases of its training, the STT hears the sentences of its grammar.
An edit of the file reaches callers when the families that it matters to are trained again. What matters is compared
with what each version keeps, which is its implementation's own. Of the families' first ones:

    nlg  the replies, with its bot.json
    nlu  slots and intents with its labels.json, sentences with the bot file it was trained on
    stt  every sentence, with its grammar.json: exactly
    tts  the voice, with the bot file it was trained on

A version of another implementation is up to date where it was trained on this very file; else it cannot be compared.
The bot file of a training is known by its digest. It lies in the NLG's and NLU's bundles, in releases, or nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from parley.bot import Bot, SlotSpec
from parley.bot.grammar import Grammar, beyond
from parley.bot.load import examine, examine_file
from parley.bundle import BOT, Manifest
from parley.errors import ParleyError
from parley.implementation import FIRST
from registry import tables as t
from registry.catalogue import manifest_of
from registry.releasing.aliases import current_aliases
from registry.releasing.checking import parse_dialogue
from registry.releasing.documents import Release
from registry.releasing.releases import champion, dialogue_text
from registry.site import Registry

_NAMED = 4
"""Changes told of one version."""
_RELEASES_READ = 50


class StaleRefused(ParleyError):
    """A release whose versions never learned what its bot.yaml says."""


class _Unknown(Exception):
    """What it was trained on is not known."""


@dataclass(frozen=True)
class Stale:
    """A version that was trained on another bot file, as far as that matters to it."""

    stage: str
    model: str
    version: int
    changes: tuple[str, ...]
    """What it does not know yet, or knows otherwise."""
    sure: bool = True
    """False: what it was trained on is not known, or cannot be compared, so it may be right."""
    incomparable: str = ""
    """The implementation that reads it, where nothing here knows what its versions keep."""

    def __str__(self) -> str:
        name = f"{self.model} {self.version}"
        if self.incomparable:
            return f"{name} is read by {self.incomparable}, which is not compared with a bot.yaml: it may be stale"
        if not self.sure:
            return f"{name}: its training's bot.yaml is not known, so it cannot be told whether it is stale"
        more = f" and {len(self.changes) - _NAMED} more" if len(self.changes) > _NAMED else ""
        return f"{name} was trained on another bot.yaml: {'; '.join(self.changes[:_NAMED])}{more}"


Trained = Callable[[str], Bot | None]
"""The bot file of a digest, where it is known."""


def stale_versions(registry: Registry, c: sa.Connection, release: Release, dialogue: str) -> list[Stale]:
    """The versions of a release that are stale against a bot.yaml text, in the order of a call."""
    bot = parse_dialogue(release, dialogue)
    trained = _known_bots(c, registry.repo, release.bot)
    found = []
    for stage, ref in release.stages.items():
        folder, manifest = registry.repo / ref.model / str(ref.version), manifest_of(c, ref.model, ref.version)
        one = stale_version(bot, manifest, folder, trained)
        # A version that names no training at all has nothing to be compared with.
        if one is not None and (one[1] or manifest.lineage.bot_digest):
            incomparable = "" if manifest.read_by in _COMPARE else manifest.read_by
            found.append(Stale(str(stage), ref.model, ref.version, *one, incomparable))
    return found


def stale_version(
    bot: Bot, manifest: Manifest, folder: Path, trained: Trained
) -> tuple[tuple[str, ...], bool] | None:  # fmt: skip
    """What a version does not know of a bot file, and whether that is sure; None where it is up to date."""
    digest = manifest.lineage.bot_digest
    # The grammar of the first STT is that of its export, which the digest, of its training, does not tell.
    if digest == bot.digest and manifest.read_by != FIRST["stt"]:
        return None
    if manifest.read_by not in _COMPARE:
        return (), False
    changes: list[str] = []
    try:
        for change in _COMPARE[manifest.read_by](bot, folder, lambda: _trained(trained, digest)):
            changes.append(change)
    except (_Unknown, ParleyError):
        return tuple(changes), bool(changes)
    return (tuple(changes), True) if changes else None


def refuse_stale(release: Release, found: list[Stale]) -> None:
    """See that no version of a release is stale for sure.

    Raises:
        StaleRefused: one is; names every one, what it does not know, and what to do.
    """
    if sure := [one for one in found if one.sure]:
        stages = " ".join(f"{one.stage}=N" for one in sure)
        raise StaleRefused(
            "; ".join(map(str, sure)),
            where=str(release),
            mend=f"train them on this bot.yaml: parley releases create {stages}; or --stale-ok --why TEXT",
        )


def check_reason(where: str, stale_ok: bool, why: str) -> None:
    """See that there is a reason where what is stale is to be accepted.

    Raises:
        StaleRefused: there is none.
    """
    if stale_ok and not why.strip():
        raise StaleRefused("accepting stale versions needs a reason", where=where, mend="say it: --why TEXT")


def accepted(found: list[Stale], why: str) -> str:
    """A reason for the audit that says what was accepted; as it was where nothing is stale."""
    sure = [f"{one.model} {one.version}" for one in found if one.sure]
    return f"stale accepted ({', '.join(sure)}): {why}"[: t.WHY_CHARS] if sure else why


def edits(old: Bot, new: Bot) -> list[str]:
    """The keys by which two bot files differ: ``replies.greet``, ``slots.size``."""
    found = []
    for section in type(new).model_fields:
        mine, theirs = getattr(new, section), getattr(old, section)
        if mine == theirs:
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
            found += [f"{section}.{name}" for name in names]
        else:
            found.append(section)
    return found


def drift(registry: Registry, c: sa.Connection, release: Release) -> list[str]:
    """What was done to the bot's file since a release took it in, in words; empty when nothing was."""
    file = registry.site.bots_dir / release.bot / "bot.yaml"
    if not file.is_file():
        return []
    now = examine_file(file, registry.site)
    if now.errors or now.bot is None:
        return [f"{file} has {len(now.errors)} errors and answers no call: parley check {release.bot}"]
    then = parse_dialogue(release, dialogue_text(c, release.dialogue_digest))
    if not (changed := edits(then, now.bot)):
        return []
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return [
        f"{file} was edited since {release} took it in ({', '.join(changed[:_NAMED])}{more}): callers hear it after "
        "parley releases create and parley promote"
    ]


def against_file(registry: Registry, bot: str, text: str) -> list[str]:
    """What answers a bot's calls otherwise than its file says, in words; empty where it has no release.

    Raises:
        ParleyError: the champion cannot be read.
    """
    with registry.catalogue.read() as c:
        if current_aliases(c, bot).champion is None:
            return []
        release = champion(c, bot)
        return [*drift(registry, c, release), *map(str, stale_versions(registry, c, release, text))]


# --- implementation by implementation -------------------------------------------------------------------------------
# An implementation's client is imported where its version is read: numpy and its like take longer than a rollback,
# which needs none of them.


def _trained(trained: Trained, digest: str) -> Bot:
    found = trained(digest) if digest else None
    if found is None:
        raise _Unknown
    return found


def _nlg(bot: Bot, folder: Path, trained: Callable[[], Bot]) -> Iterator[str]:
    from models.nlg.client import read_bot

    old = read_bot(folder / BOT) if (folder / BOT).is_file() else trained()
    for act in bot.required_acts():
        if act in old.replies and old.replies[act] != bot.replies[act]:
            yield f"replies.{act} says otherwise"
    for slot in bot.slots.keys() & old.slots.keys():
        if bot.slots[slot].type != old.slots[slot].type:
            yield f"slots.{slot} is of the type {bot.slots[slot].type}"


def _nlu(bot: Bot, folder: Path, trained: Callable[[], Bot]) -> Iterator[str]:
    from models.nlu.client import LABELS, read_labels

    known = read_labels(folder / LABELS)
    used = {slot: None for intent in bot.intents for slot in bot.intent_slots(intent)}
    for slot in used:
        if slot not in known.slots:
            yield f"slots.{slot} is new"
        else:
            yield from _values(slot, known.slots[slot], bot.slots[slot])
    for intent in known.intents:
        if intent not in bot.intents and intent != known.out_of_scope:
            yield f"intents.{intent} is gone"
    old = trained()
    # Values are told above: sentences are compared with the same values on both sides.
    slots = {**bot.slots, **old.slots}
    for intent in bot.intents.keys() & old.intents.keys():
        now, then = (
            Grammar(one.model_copy(update={"slots": slots}), [intent]).network() for one in (bot, old)
        )  # fmt: skip
        for more, less, what in ((now, then, "is new"), (then, now, "is gone")):
            if (sentence := beyond(more, less)) is not None:
                yield f'intents.{intent}: "{sentence}" {what}'


def _values(slot: str, old: SlotSpec, new: SlotSpec) -> Iterator[str]:
    if (old.type, old.digits_min, old.digits_max) != (new.type, new.digits_min, new.digits_max):
        yield f"slots.{slot}: another type or number of digits"
    for value in new.values:
        if value not in old.values:
            yield f"slots.{slot}: {value} is new"
        elif set(new.values[value]) != set(old.values[value]):
            yield f"slots.{slot}: {value} is said otherwise"
    yield from (f"slots.{slot}: {value} is gone" for value in old.values if value not in new.values)


def _stt(bot: Bot, folder: Path, _: Callable[[], Bot]) -> Iterator[str]:
    from models.stt.client import read_grammar

    now, then = Grammar(bot).network(), read_grammar(folder)
    if (sentence := beyond(now, then)) is not None:
        yield f'it cannot hear "{sentence}"'
    if (sentence := beyond(then, now)) is not None:
        yield f'it still hears "{sentence}"'


def _tts(bot: Bot, _: Path, trained: Callable[[], Bot]) -> Iterator[str]:
    old = trained()
    if old.voice != bot.voice:
        yield f"voice is {bot.voice.name}"
    if old.language != bot.language:
        yield f"language is {bot.language}"


_COMPARE: Mapping[str, Callable[[Bot, Path, Callable[[], Bot]], Iterator[str]]] = {
    FIRST["stt"]: _stt, FIRST["nlu"]: _nlu, FIRST["nlg"]: _nlg, FIRST["tts"]: _tts,
}  # fmt: skip
"""By the implementation that reads a version: each knows the files that its own versions keep."""


def _known_bots(c: sa.Connection, repo: Path, bot: str) -> Trained:
    """Finds the bot file of a digest among the bot's versions and its releases."""
    seen: dict[str, Bot] = {}
    unread = _bot_files(c, repo, bot)

    def find(digest: str) -> Bot | None:
        while digest not in seen:
            one = next(unread, None)
            if one is None:
                return None
            seen.setdefault(one.digest, one)
        return seen[digest]

    return find


def _bot_files(c: sa.Connection, repo: Path, bot: str) -> Iterator[Bot]:
    from models.nlg.client import read_bot

    for path in sorted(repo.glob(f"{bot}_*/*/{BOT}"), reverse=True):
        try:
            yield read_bot(path)
        except (ParleyError, OSError):
            continue
    query = sa.select(t.dialogues.c.text).join(t.releases, t.releases.c.dialogue_digest == t.dialogues.c.digest)
    newest = query.where(t.releases.c.bot == bot).order_by(t.releases.c.number.desc()).limit(_RELEASES_READ)
    for text in list(c.scalars(newest)):
        found = examine(text, bot).bot
        if found is not None:
            yield found
