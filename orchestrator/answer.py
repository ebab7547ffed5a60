"""One answer of the bot: what the caller meant, what to say, and saying it, with the turn's figures and exposures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from experiments.exposures import exposures_of_turn
from orchestrator.dialogue import State, Step
from orchestrator.hearing import Heard
from orchestrator.services import Arrivals, CallAssignment, Services, TurnFigures
from orchestrator.speaker import Speaker
from orchestrator.stages import SpeechDown, Stages
from parley.audio import samples_to_ms

_log = logging.getLogger(__name__)

NO_VERSION = 0
"""The "version" of an exposure where a built-in fallback answered instead of a published version."""


class Answering:
    """Makes the answers of one call, one at a time.

    Args:
        fallen: stages that fell back in the turn in hand; the call's stages add to it.
    """

    def __init__(
        self,
        stages: Stages,
        speaker: Speaker,
        services: Services,
        assignment: CallAssignment,
        call_id: str,
        fallen: set[str],
    ) -> None:
        self.turn = -1
        """Number of the turn in hand; the greeting is 0."""
        self.ending = False
        """Whether the last words of the call are being said: they are not interrupted."""
        self.state_before = State()
        """The state that the turn in hand was answered from."""
        self._stages = stages
        self._speaker = speaker
        self._services = services
        self._assignment = assignment
        self._script = assignment.script
        self._call_id = call_id
        self._fallen = fallen
        self._since = 0

    async def answer(
        self, state: State, heard: Heard | None, commit: Callable[[State], None], arrivals: Arrivals
    ) -> str:
        """Answer a turn; None is the call's beginning. Cancelled when the caller interrupts.

        Args:
            commit: called with the state after this turn, before anything is said.

        Returns:
            Why the call ends, once everything has been heard; empty when it goes on.
        """
        self.turn += 1
        self.state_before, self._since = state, self._speaker.playout.sent
        figures = TurnFigures(self.turn, stt_ms=heard.stt_ms if heard else None)
        used: list[str] = []
        end = ""
        try:
            step = await self._decide(state, heard, figures, used)
            commit(step.state)
            end, self.ending = step.end, bool(step.end)
            await self._say(step, heard, figures, arrivals, used)
        except SpeechDown:
            end = await self._apologise()
        except Exception:
            # A bug in one answer: the caller is put through, other calls never notice.
            _log.exception("answer failed", extra={"turn": self.turn})
            end = await self._apologise()
        finally:
            self._record(figures, used)
        await self._speaker.trace("turn", **figures.as_dict())
        if end:
            await self._speaker.heard_out()
        return end

    def interrupted(self) -> Sequence[str]:
        """The bot was interrupted: the words of this answer that were heard."""
        heard = self._speaker.heard_words(self._since)
        played_ms = samples_to_ms(self._speaker.playout.sent - self._since)
        _log.info("interrupted", extra={"turn": self.turn, "played_ms": played_ms, "words_heard": len(heard)})
        return heard

    async def _decide(self, state: State, heard: Heard | None, figures: TurnFigures, used: list[str]) -> Step:
        dialogue = self._script.dialogue
        if heard is None:
            return dialogue.start()
        if heard.kind == "nothing":
            return dialogue.no_input(state)
        if heard.kind == "operator_key":
            return dialogue.operator(state)
        if heard.kind == "keys":
            return dialogue.keyed(state, heard.text)
        used.append("stt")
        if heard.kind == "deaf":
            return dialogue.failed(state)
        if not heard.accepted:
            return dialogue.not_understood(state)
        used.append("nlu")
        began = time.monotonic()
        meant = await self._stages.understand(heard.text)
        figures.nlu_ms = (time.monotonic() - began) * 1000
        step = dialogue.not_understood(state) if meant is None else dialogue.understood(state, meant)
        if meant is not None:
            await self._speaker.trace(
                "understanding",
                intent=meant.intent,
                slots=dict(meant.slots),
                confidence=round(meant.confidence, 3),
                out_of_scope=meant.out_of_scope,
                form=dict(step.state.form),
                resumed=heard.resumed,
            )
        if self._services.params.log_transcripts:
            _log.info(
                "transcript", extra={"turn": self.turn, "text": heard.text, "intent": meant.intent if meant else None}
            )
        return step

    async def _say(
        self, step: Step, heard: Heard | None, figures: TurnFigures, arrivals: Arrivals, used: list[str]
    ) -> None:
        """Phrase and speak the acts; the figures of the first audio go to ``figures``."""
        for act in step.acts:
            used.append("nlg")
            began = time.monotonic()
            text = await self._stages.phrase(act)
            phrased = time.monotonic()
            figures.nlg_ms = (figures.nlg_ms or 0.0) + (phrased - began) * 1000
            await self._speaker.trace("reply", act=act.name, slots=dict(act.slots), text=text)
            used.append("tts")
            on_first = partial(self._first_audio, phrased, heard, figures, arrivals)
            await self._speaker.say(self._stages, text, on_first)

    def _first_audio(self, phrased: float, heard: Heard | None, figures: TurnFigures, arrivals: Arrivals) -> None:
        now = time.monotonic()
        if figures.tts_first_ms is None:
            figures.tts_first_ms = (now - phrased) * 1000
        if heard is not None and heard.kind in ("speech", "deaf") and figures.voice_to_voice_ms is None:
            received = arrivals.of(heard.at)
            figures.voice_to_voice_ms = None if received is None else (now - received) * 1000

    async def _apologise(self) -> str:
        """Say the apology that needs no stage, and hand over."""
        self.ending = True
        prompt = self._script.prompts.apology()
        await self._speaker.send(prompt)
        await self._speaker.trace(
            "reply", act="apology", slots={}, text=self._script.prompts.texts["apology"], prompt=True
        )
        return "handover"

    def _record(self, figures: TurnFigures, used: list[str]) -> None:
        """Log the turn's figures and what was served at which stage."""
        figures.played_ms = samples_to_ms(self._speaker.playout.sent - self._since)
        stages = [stage for stage in dict.fromkeys(used) if stage in self._assignment.stages]
        fallbacks = {stage: NO_VERSION for stage in self._fallen if stage in stages}
        self._fallen.clear()
        _log.info("turn", extra=figures.as_dict() | {"fallbacks": sorted(fallbacks)})
        rows = exposures_of_turn(
            self._assignment.stages,
            call_id=self._call_id,
            turn=self.turn,
            unit=self._assignment.unit,
            stages=stages,
            fallbacks=fallbacks,
        )
        try:
            self._services.record(rows)
        except Exception:
            _log.exception("exposures were not logged")
