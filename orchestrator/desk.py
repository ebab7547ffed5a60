"""What one replica holds for all its calls: bot, engine, release, experiments, prompts, and how many it takes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from experiments.assignment import assign_call
from experiments.follower import SnapshotFollower
from experiments.pseudonyms import pseudonym_key, unit_of_call
from experiments.store import ExperimentStore
from orchestrator.dialogue import Act, Dialogue
from orchestrator.hearing import FEED_SAMPLES
from orchestrator.prompts import PROMPT_ACTS, Prompts, PromptWord
from orchestrator.services import CallAssignment, CallParams, Services
from orchestrator.stages import ClientPool, Stages
from orchestrator.turn import TurnParams
from parley.audio import SAMPLE_RATE, Pcm
from parley.bot import load_bot
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.serving.choice import open_engine
from parley.serving.engine import DEFAULT_TIMEOUT_S, Engine, EngineError, EngineUnavailable
from parley.settings import Settings
from registry.releases import RELEASE, Release, read_release

_log = logging.getLogger(__name__)

WARM_UP_WITHIN_S = 20.0
"""How long a replica's start waits for its first synthetic turn; what fails is tried again behind its back."""
WARM_UP_AGAIN_S = 2.0


class LateEngine:
    """The site's engine, opened when it is first needed and looked for again while there is none.

    A replica must be able to answer, with an apology, when Triton is not there yet.
    """

    def __init__(self, find: Callable[[], Engine]) -> None:
        self._find = find
        self._engine: Engine | None = None

    def _now(self) -> Engine:
        if self._engine is None:
            try:
                self._engine = self._find()
            except EngineError:
                raise
            except ParleyError as error:
                raise EngineUnavailable(error.what, where=error.where, mend=error.mend) from None
        return self._engine

    async def infer(
        self, model: str, version: int, inputs: Mapping[str, np.ndarray], *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> dict[str, np.ndarray]:
        """See `parley.serving.engine.Engine`."""
        return await self._now().infer(model, version, inputs, timeout_s=timeout_s)

    async def ready(self, model: str, version: int) -> bool:
        """See `parley.serving.engine.Engine`."""
        try:
            return await self._now().ready(model, version)
        except EngineError:
            return False

    async def close(self) -> None:
        """See `parley.serving.engine.Engine`."""
        if self._engine is not None:
            await self._engine.close()


class ReleasePointer:
    """The release that answers new calls; follows its file, so that a promotion needs no restart."""

    def __init__(self, bot_name: str, settings: Settings) -> None:
        self._bot_name, self._settings = bot_name, settings
        self._path = settings.bots_dir / bot_name / RELEASE
        self._seen: tuple[int, int] | None = None
        self._release: Release | None = None

    def now(self) -> Release:
        """The release; the last good one while the file cannot be read.

        Raises:
            ParleyError: there never was a good one.
        """
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino)
            if self._release is None or seen != self._seen:
                self._release, self._seen = read_release(self._bot_name, self._settings), seen
        except (OSError, ParleyError) as error:
            if self._release is None:
                # Words the reason, also where the file is missing.
                return read_release(self._bot_name, self._settings)
            _log.warning("the release cannot be read, the last one stays", extra={"reason": type(error).__name__})
        return self._release


class Desk:
    """Everything the calls of a replica share, and the admission of new ones.

    Args:
        bot_name: name of the bot's folder.
        settings: of the site.
        engine: left out, the one the settings name.
        pool: left out, the clients of the models in the repository.

    Raises:
        ParleyError: the bot or its release cannot be read, or the site's database cannot be opened.
    """

    def __init__(
        self, bot_name: str, settings: Settings, *, engine: Engine | None = None, pool: ClientPool | None = None
    ) -> None:
        self.settings = settings
        self.calls = 0
        """Calls in progress."""
        self.warm = False
        """Whether a synthetic turn has run through all four stages."""
        self.engine = engine or LateEngine(lambda: open_engine(settings))
        bot = load_bot(bot_name, settings)
        self.release = ReleasePointer(bot.name, settings)
        self.release.now()
        self._key = pseudonym_key(settings)
        self.store = ExperimentStore.at(settings)
        self._follower = SnapshotFollower(self.store)
        self._warming: asyncio.Task[None] | None = None
        params = CallParams(
            turn=TurnParams(end_of_turn_ms=settings.end_of_turn_ms, no_input_s=settings.no_input_s),
            stage_timeout_s=settings.stage_timeout_s,
            max_call_s=settings.max_call_s,
            log_transcripts=settings.log_transcripts,
        )
        self.services = Services(
            bot=bot,
            dialogue=Dialogue(bot),
            pool=pool or ClientPool(settings.repo_dir, self.engine),
            prompts=Prompts(bot),
            assign=self._assign,
            log_exposures=self.store.log_exposures,
            params=params,
        )

    async def open(self) -> None:
        """Follow the experiments and warm up: run one synthetic turn, so that the first caller is not the slow one."""
        await asyncio.to_thread(self._follower.start)
        await asyncio.to_thread(self.services.prompts.last_resort)
        tried = asyncio.Event()
        self._warming = asyncio.create_task(self._warm_up(tried))
        with suppress(TimeoutError):
            await asyncio.wait_for(tried.wait(), WARM_UP_WITHIN_S)

    async def close(self) -> None:
        """Let go of everything. Calls in progress must be over."""
        if self._warming is not None:
            self._warming.cancel()
            with suppress(asyncio.CancelledError):
                await self._warming
        await asyncio.to_thread(self._follower.close)
        await asyncio.to_thread(self.store.close)
        await self.engine.close()

    def admit(self) -> bool:
        """Take one of the places for a call, False when none is left. Give it back with :meth:`leave`."""
        if self.calls >= self.settings.max_calls:
            return False
        self.calls += 1
        return True

    def leave(self) -> None:
        """A call is over."""
        self.calls -= 1

    async def readiness(self) -> dict[str, bool]:
        """Stage to whether the release's version answers now."""
        stages = {str(stage): ref for stage, ref in self.release.now().stages.items()}
        known = [stage for stage in FAMILIES if stage in stages]
        answers = await asyncio.gather(*(self.engine.ready(stages[s].model, stages[s].version) for s in known))
        return dict.fromkeys(FAMILIES, False) | dict(zip(known, answers, strict=True))

    def _assign(self, caller: str, call_id: str) -> CallAssignment:
        release = self.release.now()
        unit = unit_of_call(caller, call_id, self._key)
        stages = assign_call(self._follower.snapshot, release, unit, self._published)
        return CallAssignment(unit, release.number, stages)

    def _published(self, model: str, version: int) -> bool:
        return (Path(self.settings.repo_dir) / model / str(version)).is_dir()

    async def _warm_up(self, tried: asyncio.Event) -> None:
        """Until it works once: render the prompts, and run one turn. A failure is said the first time only."""
        said = False
        while True:
            began = time.monotonic()
            try:
                await self._synthetic_turn()
            except Exception as error:
                if not said:
                    said = True
                    _log.warning("cannot warm up yet", extra={"reason": f"{type(error).__name__}: {error}"[:300]})
                tried.set()
                await asyncio.sleep(WARM_UP_AGAIN_S)
                continue
            self.warm = True
            tried.set()
            _log.info("warm", extra={"took_ms": round((time.monotonic() - began) * 1000)})
            return

    async def _synthetic_turn(self) -> None:
        stages = Stages(
            self.services.bot,
            self.services.pool,
            self.release.now().stages,  # type: ignore[arg-type]
            self.services.prompts,
            timeout_s=60.0,
        )
        clients = {stage: await asyncio.to_thread(stages.client, stage) for stage in FAMILIES}
        for act in PROMPT_ACTS:
            for text in dict.fromkeys([self.services.prompts.texts[act], await stages.phrase(Act(act))]):
                await self._render(clients["tts"], text)
        prompt = self.services.prompts.find(self.services.prompts.texts["greet"])
        stream = clients["stt"].new_stream()
        pcm = prompt.pcm if prompt is not None else np.zeros(SAMPLE_RATE, dtype=np.int16)
        for at in range(0, min(len(pcm), 2 * SAMPLE_RATE), FEED_SAMPLES):
            await stream.accept(pcm[at : at + FEED_SAMPLES])
        await stream.finish()
        await clients["nlu"].parse(next(iter(self.services.bot.intents)))

    async def _render(self, tts: Any, text: str) -> None:
        """Say a prompt and keep it."""
        audio: list[Pcm] = []
        words: list[PromptWord] = []
        async for piece in tts.synthesise(text):
            audio.append(piece.pcm)
            words += [PromptWord(word.word, word.start_s, word.end_s) for word in piece.words]
        assigned = self.release.now().stages["tts"]
        self.services.prompts.keep(text, (assigned.model, assigned.version), np.concatenate(audio), words)
