"""The four stages of one call, pinned to the versions it was assigned, and what happens when one of them is down.

    stages = Stages(bot, pool, assignments, prompts, ...)
    hearing = stages.hear();  await hearing.feed(pcm);  transcript = await hearing.finish()
    meant = await stages.understand(transcript.text)
    text = await stages.phrase(act)
    async for piece in stages.speak(text): ...

STT gives None (the caller hears an apology and is put through), NLU gives None (asked again), NLG gives the bot's
template, TTS gives audio that was rendered before. Every such fallback is counted with its reason. Nothing here raises
because a model or its server is down, except :class:`SpeechDown`.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from orchestrator.dialogue import Act, Understood
from orchestrator.prompts import Prompts
from parley.audio import Pcm
from parley.bot import Bot
from parley.bot.replies import realise
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.serving.engine import Engine, EngineRejected, EngineTimeout, EngineUnavailable
from parley.serving.trust import Trust
from parley.signatures import copy_verified

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

RETRY_AFTER_S = 0.15
HEARING_RETRIES_S = (0.1, 0.3, 0.6, 1.0, 1.5)
"""Waits between attempts to hear an utterance again, 3.5 s in all: what a restarting server needs."""
HEARING_WITHIN_S = 4.0
"""No further attempt begins after this: a server that hangs must not keep a caller in silence."""


_KEPT_CLIENTS = 64
"""Clients that a replica keeps, the newest ones: it may see any number of releases, and each holds a lexicon."""


class Transcript(Protocol):
    """What the session needs of an STT result."""

    @property
    def text(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def accepted(self) -> bool: ...


class TimedWord(Protocol):
    """A word of the bot and when it ends, in seconds from the first sample of the text."""

    @property
    def word(self) -> str: ...
    @property
    def end_s(self) -> float: ...


class Piece(Protocol):
    """A stretch of the bot's audio and the words that end in it."""

    @property
    def pcm(self) -> Pcm: ...
    @property
    def words(self) -> Sequence[TimedWord]: ...
    @property
    def last(self) -> bool: ...


class Assigned(Protocol):
    """The version a call is pinned to at one stage."""

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...


class SpeechDown(ParleyError):
    """The bot has no voice left, not even a prompt of this text."""


class ClientPool:
    """The clients of all versions that this process has used; calls share them, for they hold no call's state.

    Args:
        repo: the model repository.
        engine: runs the graphs.
        trust: what a version is checked against before its tokenizer, labels and lexicon are read here; the engine
            checks it for itself. None checks nothing.
    """

    _CLASSES = {"stt": "SttClient", "nlu": "NluClient", "nlg": "NlgClient", "tts": "TtsClient"}

    def __init__(self, repo: Path, engine: Engine, trust: Trust | None = None) -> None:
        self.engine = engine
        self._repo = repo
        self._trust = trust
        self._clients: dict[tuple[str, str, int], Any] = {}

    def get(self, stage: str, model: str, version: int) -> Any:
        """The client of a version. Reads its assets from disk the first time.

        Raises:
            ParleyError: the version is not published, or is not what was.
        """
        key = (stage, model, version)
        found = self._clients.get(key)
        if found is None:
            bundle = self._repo / model / str(version)
            if not bundle.is_dir():
                raise ParleyError(
                    "the version is not published",
                    where=f"{model} version {version}",
                    mend=f"publish it into {self._repo.name}/",
                )
            client = getattr(importlib.import_module(f"models.{stage}.client"), self._CLASSES[stage])
            with self._verified(bundle, model, version) as assets:
                found = self._clients[key] = client(assets, self.engine, model, version)
            # A call that uses one of those meanwhile reads it again.
            for old in list(self._clients)[:-_KEPT_CLIENTS]:
                self._clients.pop(old, None)
        return found

    @contextmanager
    def _verified(self, bundle: Path, model: str, version: int) -> Iterator[Path]:
        """What a client reads: the version's assets as they were verified, whoever changes its folder meanwhile."""
        if self._trust is None:
            yield bundle
            return
        manifest = self._trust.verify(bundle, model, version, pinned=False)
        with tempfile.TemporaryDirectory(prefix="parley-") as folder:
            copy_verified(bundle.resolve(), manifest, Path(folder))
            yield Path(folder)


@dataclass(frozen=True)
class Fallback:
    """A stage could not answer as assigned."""

    stage: str
    reason: str


class Stages:
    """The stages of one call.

    Args:
        pool: gives clients; anything with its ``get``.
        assigned: stage to the version this call is pinned to.
        prompts: audio rendered before, for when the TTS is down.
        timeout_s: the longest a stage may take for one answer.
        counts: fallbacks of the whole process, by (stage, reason).
    """

    def __init__(
        self,
        bot: Bot,
        pool: ClientPool,
        assigned: Mapping[str, Assigned],
        prompts: Prompts,
        *,
        timeout_s: float = 2.0,
        counts: Counter[tuple[str, str]] | None = None,
        on_fallback: Callable[[Fallback], None] | None = None,
    ) -> None:
        self.bot = bot
        self.prompts = prompts
        self.timeout_s = timeout_s
        self._pool = pool
        self._assigned = assigned
        self._counts = counts if counts is not None else Counter()
        self._on_fallback = on_fallback

    def client(self, stage: str) -> Any:
        """The client this call is pinned to.

        Raises:
            ParleyError: the stage has no version, or it cannot be read.
        """
        if stage not in self._assigned:
            raise ParleyError(
                "the release has no version for this stage", where=stage, mend=f"name {', '.join(FAMILIES)} in it"
            )
        return self._pool.get(stage, self._assigned[stage].model, self._assigned[stage].version)

    def fell_back(self, stage: str, error: BaseException | str) -> None:
        """Count a fallback."""
        reason = error if isinstance(error, str) else type(error).__name__
        self._counts[stage, reason] += 1
        _log.warning("fallback", extra={"stage": stage, "reason": reason, "detail": str(error)[:300]})
        if self._on_fallback:
            self._on_fallback(Fallback(stage, reason))

    def hear(self) -> Hearing:
        """Begin to listen to one utterance."""
        return Hearing(self)

    async def understand(self, text: str) -> Understood | None:
        """The meaning of a sentence; None when the NLU is down."""
        try:
            return await self._twice(lambda: self.client("nlu").parse(text))
        except Exception as error:
            self.fell_back("nlu", error)
            return None

    async def phrase(self, act: Act) -> str:
        """The words of an act: the NLG's, or the bot's own template."""
        slots = dict(act.slots)
        try:
            reply = await self._twice(lambda: self.client("nlg").generate(act.name, slots))
        except Exception as error:
            self.fell_back("nlg", error)
            return realise(self.bot, act.name, slots)
        if reply.fallback:
            self.fell_back("nlg", "slot_missing")
        return str(reply.text)

    async def speak(self, text: str) -> AsyncGenerator[Piece, None]:
        """The audio of a text, in pieces, as they are made.

        Raises:
            SpeechDown: the TTS is down and the text is none of the prompts rendered before.
        """
        version = (self._assigned["tts"].model, self._assigned["tts"].version) if "tts" in self._assigned else ("", 0)
        ready = self.prompts.find(text, version)
        if ready is not None:
            yield ready
            return
        given = 0
        for attempt in (1, 2):
            try:
                async with aclosing(self._pieces(text, given)) as pieces:
                    async for piece in pieces:
                        given += len(piece.pcm)
                        yield piece
                return
            except Exception as error:
                # A second rendering is the same samples, so it goes on where the first one broke off.
                if attempt == 2 or isinstance(error, EngineRejected | EngineTimeout | TimeoutError):
                    self.fell_back("tts", error)
                    break
                await asyncio.sleep(RETRY_AFTER_S)
        prompt = self.prompts.find(text)
        if prompt is None or given:
            raise SpeechDown("no voice for this text", where="tts")
        yield prompt

    async def _pieces(self, text: str, skip: int) -> AsyncGenerator[Piece, None]:
        async with aclosing(self.client("tts").synthesise(text)) as pieces:
            while True:
                async with asyncio.timeout(self.timeout_s):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                if skip >= len(piece.pcm):
                    skip -= len(piece.pcm)
                else:
                    yield _RestOfPiece(piece.pcm[skip:], piece.words, piece.last) if skip else piece
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
            await asyncio.sleep(RETRY_AFTER_S)
            async with asyncio.timeout(self.timeout_s):
                return await ask()


@dataclass(frozen=True)
class _RestOfPiece:
    pcm: Pcm
    words: Sequence[TimedWord]
    last: bool


class Hearing:
    """One utterance on its way through the STT. It keeps the audio, so that a broken stream can begin anew."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._audio: list[Pcm] = []
        self._stream: Any = None
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
        return "" if self._broken or self._stream is None else str(self._stream.partial())

    async def finish(self) -> Transcript | None:
        """What was said; None when the STT stays down for as long as a caller can be kept waiting."""
        error: Exception = EngineUnavailable("never asked", where="stt")
        gives_up = time.monotonic() + HEARING_WITHIN_S
        for wait_s in (0.0, *HEARING_RETRIES_S):
            if time.monotonic() > gives_up:
                break
            try:
                if self._broken:
                    await asyncio.sleep(wait_s)
                    self._stream = None
                    await self._accept(np.concatenate(self._audio))
                    self._broken = False
                if self._stream is None:
                    await self._accept(np.zeros(0, dtype=np.int16))
                async with asyncio.timeout(self._stages.timeout_s):
                    transcript: Transcript = await self._stream.finish()
                return transcript
            except EngineRejected as rejected:
                error = rejected
                break
            except Exception as failed:
                error, self._broken = failed, True
        self._stages.fell_back("stt", error)
        return None

    async def _accept(self, pcm: Pcm) -> None:
        if self._stream is None:
            self._stream = self._stages.client("stt").new_stream()
        async with asyncio.timeout(self._stages.timeout_s):
            await self._stream.accept(pcm)
