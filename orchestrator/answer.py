"""One answer of the bot: what the caller meant, what to say, and saying it, while its turn is written up."""

from __future__ import annotations

import logging
import time
from contextlib import aclosing

from calls.records import TurnEnd
from orchestrator.dialogue import Step
from orchestrator.hearing import Heard
from orchestrator.services import CallAssignment, Services
from orchestrator.speaker import Speaker
from orchestrator.stages import SpeechDown, Stages
from orchestrator.turn import Turn, exposures, fallbacks, figures, log_fields, row, trace_fields
from parley.audio import samples_to_ms
from parley.row_log import Row

_log = logging.getLogger(__name__)


class Answering:
    """Makes the answers of one call, one at a time. The dialogue's state and the turn in hand are its own."""

    def __init__(
        self,
        stages: Stages,
        speaker: Speaker,
        services: Services,
        assignment: CallAssignment,
        call_id: str,
        *,
        greets: bool = True,
    ) -> None:
        self.turns = 0
        """Turns begun after the greeting."""
        self.ending = False
        """Whether the last words of the call are being said: they are not interrupted."""
        self.state = assignment.script.dialogue.start(greet=greets).state
        self._state_before = self.state
        self._turn: Turn | None = None
        self._stages = stages
        self._speaker = speaker
        self._services = services
        self._assignment = assignment
        self._script = assignment.script
        self._call_id = call_id

    async def answer(self, heard: Heard | None) -> str:
        """Answer a turn; None is the call's beginning. Cancelled when the caller interrupts.

        Returns:
            Why the call ends, once everything has been heard; empty when it goes on.
        """
        turn = await self._open(heard)
        end = ""
        try:
            step = await self._decide(turn)
            self.state = step.state
            end, self.ending = step.end, bool(step.end)
            await self._say(step, turn)
        except SpeechDown as down:
            turn.served("tts", down.reason)
            end = await self._apologise()
        except Exception:
            # A bug in one answer: the caller is put through, other calls never notice.
            _log.exception("answer failed", extra={"turn": turn.number})
            end = await self._apologise()
        turn.answered = True
        turn.waited_until(self._speaker.sent_after(turn.since))
        # How much of it is heard is not known yet; so much was sent.
        sent_ms = round(samples_to_ms(self._speaker.sent - turn.since), 1)
        await self._speaker.trace("turn", **figures(turn) | {"played_ms": sent_ms})
        if end:
            await self._speaker.heard_out()
            await self.over("heard")
        return end

    async def settle(self) -> None:
        """Note that the caller has heard the answer out, where he has."""
        if self._turn is not None and self._turn.answered and not self.ending and self._speaker.left_s <= 0:
            await self.over("heard")

    async def take_back(self, how: TurnEnd) -> None:
        """Nothing more is made of the turn in hand: take back what the caller has not heard of it."""
        # Before anything is waited for: others' audio is not this turn's, and a line that hangs must lose no row.
        turn = self.close(how)
        heard = self._speaker.heard_words(turn.since) if turn else []
        dropped = await self._speaker.clear()
        if turn is None:
            return
        if how == "interrupted":
            extra = {"turn": turn.number, "played_ms": turn.played_ms, "words_heard": len(heard)}
            _log.info("interrupted", extra=extra)
            await self._speaker.trace("interrupted", dropped_ms=round(samples_to_ms(dropped)), heard=" ".join(heard))
        await self._speaker.trace("turn_over", **trace_fields(turn))

    async def over(self, how: TurnEnd) -> None:
        """The turn in hand is over, if there is one."""
        if (turn := self.close(how)) is not None:
            await self._speaker.trace("turn_over", **trace_fields(turn))

    def close(self, how: TurnEnd) -> Turn | None:
        """The turn in hand is over, and written down; None where none was in hand."""
        if (turn := self._end(how)) is not None:
            self._write_down(turn)
        return turn

    def _end(self, how: TurnEnd) -> Turn | None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.waited_until(self._speaker.sent_after(turn.since))
            turn.end(how, samples_to_ms(max(0, self._speaker.sent - self._speaker.unheard - turn.since)))
        return turn

    def _write_down(self, turn: Turn) -> None:
        _log.info("turn", extra=log_fields(turn))
        self._services.fallbacks.update(fallbacks(turn).items())
        try:
            rows: list[Row] = [*exposures(turn), row(turn, with_text=self._services.params.log_transcripts)]
            self._services.record(rows)
        except Exception:
            _log.exception("a turn was not written down")

    async def _open(self, heard: Heard | None) -> Turn:
        """A new turn; the one before it was heard out."""
        await self.over("heard")
        if heard is not None:
            self.turns += 1
            if heard.resumed:  # answered from the state before its first half was
                self.state = self._state_before
        self._state_before = self.state
        self._turn = Turn(
            self._call_id,
            self._assignment.unit,
            self.turns,
            self._assignment.stages,
            heard,
            self._speaker.sent,
        )
        return self._turn

    async def _decide(self, turn: Turn) -> Step:
        dialogue, state, heard = self._script.dialogue, self.state, turn.heard
        if heard is None:
            return dialogue.start()
        if heard.kind == "nothing":
            return dialogue.no_input(state)
        if heard.kind == "operator_key":
            return dialogue.operator(state)
        if heard.kind == "keys":
            return dialogue.keyed(state, heard.text)
        turn.served("stt", heard.fallback)
        if heard.kind == "deaf":
            return dialogue.failed(state)
        if not heard.accepted:
            return dialogue.not_understood(state)
        return await self._understand(turn, heard)

    async def _understand(self, turn: Turn, heard: Heard) -> Step:
        turn.reach("nlu")
        began = time.monotonic()
        given = await self._stages.understand(heard.text)
        turn.nlu_ms = _ms_since(began)
        turn.served("nlu", given.fallback)
        dialogue, meant = self._script.dialogue, given.value
        step = dialogue.not_understood(self.state) if meant is None else dialogue.understood(self.state, meant)
        if meant is not None:
            turn.intent = meant.intent
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
            _log.info("transcript", extra={"turn": turn.number, "text": heard.text, "intent": turn.intent})
        return step

    async def _say(self, step: Step, turn: Turn) -> None:
        """Phrase and speak the acts."""
        for act in step.acts:
            turn.reach("nlg")
            began = time.monotonic()
            worded = await self._stages.phrase(act)
            phrased = time.monotonic()
            turn.nlg_ms = (turn.nlg_ms or 0.0) + (phrased - began) * 1000
            turn.served("nlg", worded.fallback)
            await self._speaker.trace("reply", act=act.name, slots=dict(act.slots), text=worded.value)
            turn.reach("tts")
            begin = self._speaker.sent
            # An interruption cancels in here; the voice's requests must end then too, not when the garbage is
            # collected.
            async with aclosing(self._stages.speak(worded.value)) as pieces:
                async for piece in pieces:
                    turn.served("tts", piece.fallback)
                    if turn.tts_first_ms is None:
                        turn.tts_first_ms = _ms_since(phrased)
                    await self._speaker.send(piece.value, begin)

    async def _apologise(self) -> str:
        """Say the apology that needs no stage, and hand over."""
        self.ending = True
        await self._speaker.send(self._script.prompts.apology())
        text = self._script.prompts.texts["apology"]
        await self._speaker.trace("reply", act="apology", slots={}, text=text, prompt=True)
        return "handover"


def _ms_since(began: float) -> float:
    return (time.monotonic() - began) * 1000
