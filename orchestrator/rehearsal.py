"""Turns without a caller: one that warms a release up, and the short one that proves that it answers.

await synthetic_turn(routing, pool)              # once a release: renders its prompts
await Proof(pool).stages(routing)                # {"stt": True, ...}, at most once a second
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from orchestrator.dialogue import Act
from orchestrator.hearing import FEED_SAMPLES
from orchestrator.prompts import PROMPT_ACTS, PromptWord
from orchestrator.routing import Routing
from orchestrator.stages import ClientPool, Stages
from parley.audio import SAMPLE_RATE, Pcm
from parley.bundle import FAMILIES

PROOF_WITHIN_S = 2.0
PROOF_HOLDS_S = 1.0
"""Balancers ask every few seconds, each for itself."""


async def synthetic_turn(routing: Routing, pool: ClientPool) -> None:
    """Render a release's prompts and run one turn of it.

    Raises:
        ParleyError: a stage cannot answer.
    """
    script = routing.script
    versions = {str(stage): ref for stage, ref in routing.release.stages.items()}
    stages = Stages(script.bot, pool, versions, script.prompts, timeout_s=60.0)
    clients = {stage: await asyncio.to_thread(stages.client, stage) for stage in FAMILIES}
    for act in PROMPT_ACTS:
        for text in dict.fromkeys([script.prompts.texts[act], await stages.phrase(Act(act))]):
            await _render(routing, clients["tts"], text)
    prompt = script.prompts.find(script.prompts.texts["greet"])
    stream = clients["stt"].new_stream()
    pcm = prompt.pcm if prompt is not None else np.zeros(SAMPLE_RATE, dtype=np.int16)
    for at in range(0, min(len(pcm), 2 * SAMPLE_RATE), FEED_SAMPLES):
        await stream.accept(pcm[at : at + FEED_SAMPLES])
    await stream.finish()
    await clients["nlu"].parse(next(iter(script.bot.intents)))


async def _render(routing: Routing, tts: Any, text: str) -> None:
    """Say a prompt and keep it."""
    audio: list[Pcm] = []
    words: list[PromptWord] = []
    async for piece in tts.synthesise(text):
        audio.append(piece.pcm)
        words += [PromptWord(word.word, word.start_s, word.end_s) for word in piece.words]
    voice = routing.release.stages["tts"]
    routing.script.prompts.keep(text, (voice.model, voice.version), np.concatenate(audio), words)


class Proof:
    """Whether each stage of a release answers, by asking it something small; no server is taken at its word."""

    def __init__(self, pool: ClientPool) -> None:
        self._pool = pool
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

    async def _answers(self, stage: str, routing: Routing) -> bool:
        if stage not in routing.release.stages:
            return False
        version = routing.release.stages[stage]
        try:
            async with asyncio.timeout(PROOF_WITHIN_S):
                client = await asyncio.to_thread(self._pool.get, stage, version.model, version.version)
                await _ask(stage, client)
        except Exception:  # whatever it is, the stage does not answer
            return False
        return True


async def _ask(stage: str, client: Any) -> None:
    if stage == "stt":
        stream = client.new_stream()
        await stream.accept(np.zeros(FEED_SAMPLES, dtype=np.int16))
        await stream.finish()
    elif stage == "nlu":
        await client.parse("yes")
    elif stage == "nlg":
        await client.generate(PROMPT_ACTS[-1], {})
    else:
        pieces = client.synthesise("yes")
        try:
            await anext(pieces)
        finally:
            await pieces.aclose()
