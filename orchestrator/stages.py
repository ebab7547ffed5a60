"""The four stages of one call, pinned to the versions it was assigned, and what happens when one of them is down.

    stages = Stages(bot, clients, assignments, prompts, ...)
    hearing = stages.hear();  await hearing.feed(pcm);  transcript = (await hearing.finish()).value
    meant = (await stages.understand(transcript.text)).value
    text = (await stages.phrase(act)).value
    async for piece in stages.speak(text): ...              # piece.value

STT gives None (the caller hears an apology and is put through), NLU gives None (asked again), NLG gives the bot's
template, TTS gives audio that was rendered before. Whatever a stage gives says whether the assigned version gave it,
and why not (:class:`Served`). Nothing here raises because a model or its server is down, except :class:`SpeechDown`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from models.contracts import (
    Clients,
    NlgClient,
    NluClient,
    Piece,
    Reply,
    SttClient,
    SttStream,
    Transcript,
    TtsClient,
    Understanding,
)
from orchestrator.dialogue import Act
from orchestrator.prompts import Prompts
from orchestrator.wall_clock import CALL_RATE
from parley.audio import Pcm
from parley.bot import Bot
from parley.bot.replies import realise
from parley.bundle import FAMILIES, Family, VersionRef
from parley.errors import ParleyError
from parley.resampling import Resampler
from parley.serving.engine import EngineRejected, EngineTimeout, EngineUnavailable

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Retries:
    """How a stage that failed is asked again."""

    after_s: float = 0.15
    hearing_s: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0, 1.5)
    """Waits between attempts to hear an utterance again, 3.5 s in all: what a restarting server needs."""
    hearing_within_s: float = 4.0
    """No further attempt begins after this: a server that hangs must not keep a caller in silence."""


RETRIES = Retries()


class SpeechDown(ParleyError):
    """The bot has no voice left, not even a prompt of this text.

    Args:
        reason: why the assigned version did not speak, as in :class:`Served`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("no voice for this text", where="tts")
        self.reason = reason


@dataclass(frozen=True)
class Served(Generic[_T]):
    """What a stage gave, and how."""

    value: _T
    fallback: str = ""
    """Why the assigned version did not give it (an error's name, ``slot_missing``); empty where it did."""


class Stages:
    """The stages of one call.

    Args:
        clients: gives the clients of versions.
        assigned: stage to the version this call is pinned to.
        prompts: audio rendered before, for when the TTS is down.
        timeout_s: the longest a stage may take for one answer.
        retries: how it is asked again.
    """

    def __init__(
        self,
        bot: Bot,
        clients: Clients,
        assigned: Mapping[Family, VersionRef],
        prompts: Prompts | None,
        *,
        timeout_s: float = 2.0,
        retries: Retries = RETRIES,
    ) -> None:
        self.bot = bot
        self.prompts = prompts
        self.timeout_s = timeout_s
        self.retries = retries
        self._clients = clients
        self._assigned = assigned

    async def stt(self) -> SttClient:
        """The STT this call is pinned to.

        Raises:
            ParleyError: the release has no version for the stage, or it cannot be read.
        """
        return await self._clients.stt(self._ref("stt"))

    async def nlu(self) -> NluClient:
        """The NLU this call is pinned to. Raises as `stt`."""
        return await self._clients.nlu(self._ref("nlu"))

    async def nlg(self) -> NlgClient:
        """The NLG this call is pinned to. Raises as `stt`."""
        return await self._clients.nlg(self._ref("nlg"))

    async def tts(self) -> TtsClient:
        """The TTS this call is pinned to. Raises as `stt`."""
        return await self._clients.tts(self._ref("tts"))

    def _ref(self, stage: Family) -> VersionRef:
        if stage not in self._assigned:
            raise ParleyError(
                "the release has no version for this stage", where=stage, mend=f"name {', '.join(FAMILIES)} in it"
            )
        return self._assigned[stage]

    def hear(self) -> Hearing:
        """Begin to listen to one utterance."""
        return Hearing(self)

    async def understand(self, text: str) -> Served[Understanding | None]:
        """The meaning of a sentence; None when the NLU is down."""

        async def ask() -> Understanding:
            return await (await self.nlu()).parse(text)

        try:
            return Served(await self._twice(ask))
        except Exception as error:
            return Served(None, failed("nlu", error))

    async def phrase(self, act: Act) -> Served[str]:
        """The words of an act: the NLG's, or the bot's own template."""
        slots = dict(act.slots)

        async def ask() -> Reply:
            return await (await self.nlg()).generate(act.name, slots)

        try:
            reply = await self._twice(ask)
        except Exception as error:
            return Served(realise(self.bot, act.name, slots), failed("nlg", error))
        return Served(reply.text, "slot_missing" if reply.fallback else "")

    async def speak(self, text: str) -> AsyncGenerator[Served[Piece], None]:
        """The audio of a text, in pieces, as they are made.

        Raises:
            SpeechDown: the TTS is down and the text is none of the prompts rendered before.
        """
        voice = self._assigned.get("tts")
        ready = self.prompts.find(text, voice) if self.prompts and voice else None
        if ready is not None:
            yield Served(ready)
            return
        given, reason = 0, ""
        for attempt in (1, 2):
            try:
                async with aclosing(self._pieces(text, given)) as pieces:
                    async for piece in pieces:
                        given += len(piece.pcm)
                        yield Served(piece)
                return
            except Exception as error:
                # A second rendering is the same samples, so it goes on where the first one broke off.
                if attempt == 2 or isinstance(error, EngineRejected | EngineTimeout | TimeoutError):
                    reason = failed("tts", error)
                    break
                await asyncio.sleep(self.retries.after_s)
        prompt = self.prompts.find(text) if self.prompts else None
        if prompt is None or given:
            raise SpeechDown(reason)
        yield Served(prompt, reason)

    async def _pieces(self, text: str, skip: int) -> AsyncGenerator[Piece, None]:
        async with asyncio.timeout(self.timeout_s):
            client = await self.tts()
        async with aclosing(client.synthesise(text)) as pieces:
            while True:
                async with asyncio.timeout(self.timeout_s):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                if skip >= len(piece.pcm):
                    skip -= len(piece.pcm)
                else:
                    yield replace(piece, pcm=piece.pcm[skip:]) if skip else piece
                    skip = 0

    async def _twice(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask, and once more after a moment where that can help."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await ask()
        except (EngineRejected, EngineTimeout, TimeoutError):
            # What cannot help, and what would keep the caller in silence for as long again.
            raise
        except Exception:
            await asyncio.sleep(self.retries.after_s)
            async with asyncio.timeout(self.timeout_s):
                return await ask()


def failed(stage: Family, error: Exception) -> str:
    """Log that a stage failed for good, and give the reason as in :class:`Served`."""
    reason = type(error).__name__
    _log.warning("a stage failed", extra={"stage": stage, "reason": reason, "detail": str(error)[:300]})
    return reason


class Hearing:
    """One utterance on its way through the STT. It keeps the audio, so that a broken stream can begin anew."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._audio: list[Pcm] = []
        self._stream: SttStream | None = None
        self._broken = False

    async def feed(self, pcm: Pcm) -> None:
        """Take int16 samples ``[n]``. A failure is remembered for :meth:`finish`, not raised."""
        self._audio.append(pcm)
        if self._broken:
            return
        try:
            await self._accept(pcm)
        except Exception as error:
            self._broken = True
            _log.warning("hearing broke off, it will be repeated", extra={"reason": type(error).__name__})

    def partial(self) -> str:
        """The best guess so far."""
        return "" if self._broken or self._stream is None else self._stream.partial()

    async def finish(self) -> Served[Transcript | None]:
        """What was said; None when the STT stays down for as long as a caller can be kept waiting."""
        error: Exception = EngineUnavailable("never asked", where="stt")
        retries = self._stages.retries
        gives_up = time.monotonic() + retries.hearing_within_s
        for wait_s in (0.0, *retries.hearing_s):
            if time.monotonic() > gives_up:
                break
            try:
                if self._broken:
                    await asyncio.sleep(wait_s)
                    self._stream = None
                    await self._accept(np.concatenate(self._audio))
                    self._broken = False
                stream = await self._opened()
                async with asyncio.timeout(self._stages.timeout_s):
                    return Served(await stream.finish())
            except EngineRejected as rejected:
                error = rejected
                break
            except Exception as trouble:
                error, self._broken = trouble, True
        return Served(None, failed("stt", error))

    async def _accept(self, pcm: Pcm) -> None:
        stream = await self._opened()
        async with asyncio.timeout(self._stages.timeout_s):
            await stream.accept(pcm)

    async def _opened(self) -> SttStream:
        if self._stream is None:
            async with asyncio.timeout(self._stages.timeout_s):
                client = await self._stages.stt()
            stream = client.new_stream()
            self._stream = stream if client.sample_rate == CALL_RATE else ResampledStream(stream, client.sample_rate)
        return self._stream


class ResampledStream:
    """A stream whose model listens at another rate than calls do: audio is resampled at the model's door.

    Args:
        stream: the model's.
        sample_rate: of its audio, in Hz.
    """

    def __init__(self, stream: SttStream, sample_rate: int) -> None:
        self._stream = stream
        self._resampler = Resampler(CALL_RATE, sample_rate)

    async def accept(self, pcm: Pcm) -> None:
        """See `models.contracts.SttStream`; int16 ``[n]`` at the call's rate."""
        await self._stream.accept(self._resampler.push(pcm))

    def partial(self) -> str:
        """See `SttStream`."""
        return self._stream.partial()

    async def finish(self) -> Transcript:
        """See `SttStream`."""
        await self._stream.accept(self._resampler.push(np.zeros(0, dtype=np.int16), last=True))
        return await self._stream.finish()
