"""Turns without a caller: one that warms a release up, and the short question that proves that a version answers.

await synthetic_turn(routing, clients)                 # once a release: renders its prompts
await Proof(clients).stages(routing)                   # {"stt": True, ...}, at most once a second
await prove("nlu", ref, clients, "yes")                # the version's assets are read, and its graph answers
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import numpy as np

from models.contracts import Clients, Piece, TimedWord, TtsClient
from orchestrator.dialogue import Act
from orchestrator.prompts import PROMPT_ACTS
from orchestrator.routing import Routing
from orchestrator.stages import Stages
from parley.audio import Pcm
from parley.bundle import FAMILIES, Family, VersionRef

PROOF_WITHIN_S = 2.0
PROOF_HOLDS_S = 1.0
"""Balancers ask every few seconds, each for itself."""
_FED_S = 0.16
"""Audio that goes to the STT at once."""
_HEARD_S = 2.0
"""How much of the greeting the STT is given to warm up."""


async def synthetic_turn(routing: Routing, clients: Clients) -> None:
    """Render a release's prompts and run one turn of it.

    Raises:
        ParleyError: a stage cannot answer.
    """
    script = routing.script
    stages = Stages(script.bot, clients, routing.release.stages, script.prompts, timeout_s=60.0)
    stt, nlu, tts = await stages.stt(), await stages.nlu(), await stages.tts()
    await stages.nlg()  # raises, where `phrase` would take the bot's own template
    for act in PROMPT_ACTS:
        for text in dict.fromkeys([script.prompts.texts[act], (await stages.phrase(Act(act))).value]):
            script.prompts.keep(text, routing.release.stages["tts"], await _rendered(tts, text))
    prompt = script.prompts.find(script.prompts.texts["greet"])
    pcm = prompt.pcm if prompt is not None else np.zeros(stt.sample_rate, dtype=np.int16)
    stream, size = stt.new_stream(), round(_FED_S * stt.sample_rate)
    for at in range(0, min(len(pcm), round(_HEARD_S * stt.sample_rate)), size):
        await stream.accept(pcm[at : at + size])
    await stream.finish()
    await nlu.parse(next(iter(script.bot.intents)))


async def _rendered(tts: TtsClient, text: str) -> Piece:
    """A whole text as one piece."""
    parts: list[Pcm] = []
    words: list[TimedWord] = []
    async with aclosing(tts.synthesise(text)) as pieces:
        async for piece in pieces:
            parts.append(piece.pcm)
            words += piece.words
    return Piece(np.concatenate(parts), tts.sample_rate, tuple(words))


class Proof:
    """Whether each stage of a release answers, by asking it something small; no server is taken at its word."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._asking = asyncio.Lock()
        self._found: dict[str, bool] = {}
        self._of: tuple[int, float] = (0, 0.0)

    async def stages(self, routing: Routing) -> dict[str, bool]:
        """Stage to whether the release's version answered within the last second."""
        async with self._asking:
            release, until = self._of
            if release != routing.release.number or time.monotonic() >= until:
                answers = await asyncio.gather(*(self._answers(stage, routing) for stage in FAMILIES))
                self._found = dict(zip(map(str, FAMILIES), answers, strict=True))
                self._of = (routing.release.number, time.monotonic() + PROOF_HOLDS_S)
            return dict(self._found)

    async def _answers(self, stage: Family, routing: Routing) -> bool:
        if stage not in routing.release.stages:
            return False
        try:
            async with asyncio.timeout(PROOF_WITHIN_S):
                await prove(stage, routing.release.stages[stage], self._clients, routing.script.bot.speech.probe)
        except Exception:  # whatever it is, the stage does not answer
            return False
        return True


async def prove(stage: Family, ref: VersionRef, clients: Clients, probe: str) -> None:
    """Have a version answer something small.

    Args:
        probe: something short that can be said and understood in the bot's language.

    Raises:
        ParleyError: its client cannot be read, or its graph does not answer.
    """
    if stage == "stt":
        stt = await clients.stt(ref)
        stream = stt.new_stream()
        await stream.accept(np.zeros(round(_FED_S * stt.sample_rate), dtype=np.int16))
        await stream.finish()
    elif stage == "nlu":
        await (await clients.nlu(ref)).parse(probe)
    elif stage == "nlg":
        await (await clients.nlg(ref)).generate(PROMPT_ACTS[-1], {})
    else:
        async with aclosing((await clients.tts(ref)).synthesise(probe)) as pieces:
            await anext(pieces)
