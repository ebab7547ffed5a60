"""Two releases' voices side by side: what they say for an act (NLG), and how well it is understood (TTS)."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from judging.paired import Measured, Side, Sides, row
from models.stt.evaluate import decode
from models.tts.recogniser import Recogniser, word_errors, words_of
from models.tts.text import Lexicon
from parley.audio import Pcm
from parley.bot import Bot
from parley.bot.grammar import Grammar
from parley.bot.replies import ActSpec, acts, realise, says, spoken_values
from parley.bot.slots import draw_value
from parley.errors import ParleyError
from parley.progress import progress
from parley.utterances import text_name
from registry.gating.comparison import Pair

DRAWS = 3
"""Values drawn for each act and set of slots."""
_SETS = 16
"""Sets of slots of one act, at most."""


@dataclass(frozen=True)
class ToSay:
    """An act with the values it is to name."""

    id: str
    group: str
    """Act and set of slots: its draws are one observation, for only the values differ."""
    act: str
    slots: dict[str, str]


def things_to_say(bot: Bot, seed: int = 1) -> list[ToSay]:
    """Every act of a bot, with sets of its slots and drawn values. The same bot and seed give the same."""
    answers = [a for task in bot.dialogue.tasks.values() if task.answer for a in task.answer.values.values()]
    found = []
    for spec in acts(bot):
        for chosen in _slot_sets(spec, seed):
            group = f"{spec.act}({','.join(chosen)})"
            rng = random.Random(f"gate|{seed}|{group}")
            for draw in range(DRAWS if chosen else 1):
                values = {s: draw_value(bot.slots[s], rng) if s in bot.slots else rng.choice(answers) for s in chosen}
                found.append(ToSay(f"{group}#{draw + 1}", group, spec.act, values))
    return [one for one in found if _sayable(bot, one)]


def _slot_sets(spec: ActSpec, seed: int) -> list[tuple[str, ...]]:
    sets = [(*spec.required, *extra) for n in range(len(spec.optional) + 1) for extra in combinations(spec.optional, n)]
    return sets if len(sets) <= _SETS else random.Random(f"gate|{seed}|{spec.act}").sample(sets, _SETS)


def _sayable(bot: Bot, one: ToSay) -> bool:
    try:
        realise(bot, one.act, one.slots)
    except ParleyError:
        return False
    return True


async def worded(side: Side, act: str, slots: dict[str, str]) -> tuple[str, bool]:
    """The reply, and whether the network itself says every value: a template in its place does not count."""
    try:
        reply = await (await side.stages.nlg()).generate(act, slots)
    except ParleyError as error:
        side.faults.append(f"nlg: {error.what}")
        return f"({error.what})", False
    return reply.text, not reply.fallback and not says(reply.text, spoken_values(side.bot, slots), side.bot.speech)


async def on_acts(sides: Sides, things: Sequence[ToSay]) -> Measured:
    """Word acts with both NLGs."""
    measured = Measured()
    with progress("both releases reply", len(things)) as bar:
        for one in things:
            both = await sides.both(lambda side, one=one: worded(side, one.act, one.slots))  # type: ignore[misc]
            (mine, mine_ms), (theirs, theirs_ms) = both
            measured.pairs.append(
                Pair(one.id, one.group, int(mine[1]), int(theirs[1]), measure="wording", slices={"act": one.act})
            )
            answers = (mine[0], theirs[0])
            measured.rows.append(row(one.id, one.act, one.slots, answers, (mine[1], theirs[1]), "wording"))
            measured.ms["nlg"].append((mine_ms, theirs_ms))
            bar.advance()
            if sides.broken():
                break
    return measured


Ear = Callable[[Pcm], Awaitable[list[str]]]


@dataclass(frozen=True)
class Listening:
    """Who listens to the voices, and to what."""

    name: str
    ear: Ear
    texts: list[str]


async def listening(sides: Sides, texts: Sequence[str], repo: Path) -> Listening:
    """PocketSphinx on the bot's replies where it is installed and hears their language: it knows neither voice. Else
    the champion's own STT.

    That one knows what callers say and nothing else, so it is given callers' sentences.
    """
    model, version = sides.champion.version("tts") or ("", 0)
    try:
        lexicon = Lexicon.load(repo / model / str(version) / "lexicon.json", sides.champion.bot.speech)
        recogniser = Recogniser(texts, lexicon)
    except ParleyError:
        client, grammar = await sides.champion.stages.stt(), Grammar(sides.champion.bot)
        rng = random.Random("gate|voice")
        said = dict.fromkeys(grammar.sample(rng).text for _ in range(2 * len(texts)))

        async def own(pcm: Pcm) -> list[str]:
            return (await decode(client, pcm)).text.split()

        return Listening(sides.champion.name("stt"), own, list(said)[: len(texts)])

    async def independent(pcm: Pcm) -> list[str]:
        return recogniser.hear(pcm)

    return Listening("pocketsphinx", independent, list(texts))


async def on_texts(sides: Sides, listener: Listening) -> Measured:
    """Speak texts with both voices, and count the words that are understood."""
    measured = Measured()
    with progress("both releases speak", len(listener.texts)) as bar:
        for text in listener.texts:
            (mine, _), (theirs, _) = await sides.both(lambda side, text=text: _spoken(side, text))  # type: ignore[misc]
            words = words_of(text, sides.champion.bot.speech)
            heard = [await listener.ear(pcm) for pcm, _ in (mine, theirs)]
            right = [max(0, len(words) - word_errors(words, h)) for h in heard]
            name = text_name(text)
            measured.pairs.append(Pair(name, name, right[0], right[1], of=len(words), measure="voice"))
            got = (" ".join(heard[0]), " ".join(heard[1]))
            measured.rows.append(row(name, text, len(words), got, right, "voice"))
            measured.ms["tts"].append((mine[1], theirs[1]))
            bar.advance()
            if sides.broken():
                break
    return measured


async def _spoken(side: Side, text: str) -> tuple[Pcm, float]:
    """The audio, and the milliseconds to its first piece."""
    begun, first = time.perf_counter(), 0.0
    parts: list[Pcm] = [np.zeros(0, np.int16)]
    try:
        async with aclosing((await side.stages.tts()).synthesise(text)) as pieces:
            async for piece in pieces:
                first = first or (time.perf_counter() - begun) * 1000
                parts.append(piece.pcm)
    except ParleyError as error:
        side.faults.append(f"tts: {error.what}")
    return np.concatenate(parts), first


def reply_texts(bot: Bot, things: Sequence[ToSay]) -> list[str]:
    """What the bot's templates say for these acts, each text once and with something to say."""
    texts = dict.fromkeys(realise(bot, one.act, one.slots) for one in things)
    return [text for text in texts if any(c.isalpha() for c in text)]
