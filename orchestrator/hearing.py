"""The bot's ear in one call: from turn events to what the caller said.

An utterance goes to the STT while it is spoken. When what was heard is no whole sentence, the ear waits a little longer
before it gives up: callers pause to think. When the caller goes on although the turn was taken to be over, both halves
are heard again as one, and the whole is answered instead of the half.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, Protocol

from models.contracts import Transcript
from orchestrator.recent_audio import RecentAudio
from orchestrator.services import CallParams
from orchestrator.stages import Hearing, Served, Stages
from orchestrator.turn_taking import EndOfTurn, SpeechAudio, SpeechStarted, TurnEvent, TurnTaker
from parley.audio import Pcm, ms_to_samples, samples_to_ms

NOISE_MS = 240
"""Less speech than this that is no sentence was a noise, and is not answered."""
HEARD_MS = 1000
"""A caller who has heard this much of the answer, or all of it, replies to it; earlier, the first sentence goes on."""
WHOLE_OVER_HALF = 0.8
"""Both halves as one count as what was meant when they are at least this sure compared with the second half alone."""


@dataclass(frozen=True)
class HoldOver:
    """Nothing came after an unfinished sentence."""


@dataclass(frozen=True)
class Heard:
    """The result of a turn of the caller's."""

    kind: Literal["speech", "nothing", "deaf", "operator_key", "keys"]
    """``deaf``: the STT is down."""
    at: int
    """The sample clock at the end of speech; where there was none, now."""
    text: str = ""
    accepted: bool = False
    confidence: float = 0.0
    stt_ms: float | None = None
    resumed: bool = False
    """Whether it includes, and so replaces, the utterance answered before."""
    start: int | None = None
    """The sample clock when speech was noticed first; None where there was none."""
    received: float | None = None
    """Monotonic time at which the end of speech was received."""
    fallback: str = ""
    """Why the assigned STT did not hear it (`orchestrator.stages.Served`)."""
    not_again: str = ""
    """Why it could not hear two halves again as one. What it had heard of the second half stands, so nothing else
    answered."""

    @classmethod
    def nothing(cls, at: int) -> Heard:
        """The caller was silent."""
        return cls("nothing", at)

    @classmethod
    def keys(cls, digits: str, at: int) -> Heard:
        """The caller keyed a number."""
        return cls("keys", at, digits, accepted=True, confidence=1.0)

    @classmethod
    def operator_key(cls, at: int) -> Heard:
        """The caller pressed the key for a person."""
        return cls("operator_key", at)


@dataclass(frozen=True)
class _Half:
    """An utterance that the next one may continue."""

    start: int
    voice_start: int
    speech_end: int
    answered: bool
    sent: int
    """Samples of the bot's audio that had been sent when it was over."""


class Mouth(Protocol):
    """What the ear has to know of what the bot says: `orchestrator.speaker.Speaker`."""

    @property
    def sent(self) -> int:
        """Samples sent since the call began and not taken back."""
        ...

    @property
    def unheard(self) -> int:
        """Samples sent that the caller has yet to hear."""
        ...

    @property
    def talking(self) -> bool:
        """Whether the caller hears the bot now."""
        ...

    @property
    def tracing(self) -> bool:
        """Whether anybody wants to be told what happens."""
        ...

    async def trace(self, kind: str, **data: object) -> None:
        """Tell him."""
        ...


class Ear:
    """Understands words in one call. ``hold_expired`` belongs to its reader, ``take`` to its thinker.

    Args:
        recent: the call's audio so far, in which halves are found again.
    """

    def __init__(self, stages: Stages, speaker: Mouth, params: CallParams, recent: RecentAudio) -> None:
        self._stages = stages
        self._speaker = speaker
        self._params = params
        self._recent = recent
        self._hearing: Hearing | None = None
        self._partial = ""
        self._last: _Half | None = None
        self._held: Heard | None = None
        self._hold_until = 0

    @property
    def holding(self) -> bool:
        """Whether an unfinished sentence waits for its rest."""
        return self._held is not None

    def hold_expired(self, taker: TurnTaker, missing: int = 0) -> HoldOver | None:
        """Whether the caller has been silent for long enough after an unfinished sentence. Says so once.

        Args:
            missing: samples that have not come although their time has passed.
        """
        if not self._hold_until or taker.speaking or taker.samples + missing < self._hold_until:
            return None
        self._hold_until = 0
        return HoldOver()

    async def take(self, event: TurnEvent | HoldOver) -> Heard | None:
        """The next event of the call; what was heard, once a turn is over."""
        if isinstance(event, SpeechStarted):
            self._hearing = self._stages.hear()
            self._partial = ""
            if self._last is not None and self._heard_answer(self._last):
                self._last = None
            await self._speaker.trace("speech_started", at_ms=samples_to_ms(event.at))
        elif isinstance(event, SpeechAudio):
            await self._feed(event.pcm)
        elif isinstance(event, EndOfTurn):
            return await self._end_of_turn(event)
        elif isinstance(event, HoldOver):
            held, self._held = self._held, None
            return held
        return None

    async def _feed(self, pcm: Pcm) -> None:
        if self._hearing is None:
            return
        await self._hearing.feed(pcm)
        if self._speaker.tracing and (partial := self._hearing.partial()) != self._partial:
            self._partial = partial
            await self._speaker.trace("partial", text=partial)

    async def _end_of_turn(self, event: EndOfTurn) -> Heard | None:
        hearing, self._hearing = self._hearing, None
        if hearing is None:
            return None
        if not event.interrupted:
            await self._speaker.trace("ignored", reason="under the bot's speech", at_ms=samples_to_ms(event.start))
            return None
        began, received = time.monotonic(), self._recent.received(event.speech_end)
        given = await hearing.finish()
        transcript = given.value
        if transcript is None:
            return Heard(
                "deaf",
                event.speech_end,
                stt_ms=_ms_since(began),
                start=event.voice_start,
                received=received,
                fallback=given.fallback,
            )
        half, held = self._half_before(event), self._held
        self._held, self._hold_until = None, 0
        whole = await self._whole(half, event, transcript) if half else Served(None)
        joined = half if whole.value is not None else None
        transcript = whole.value or transcript
        heard = Heard(
            "speech",
            event.speech_end,
            transcript.text,
            transcript.accepted,
            transcript.confidence,
            _ms_since(began),
            resumed=joined is not None and joined.answered,
            start=joined.voice_start if joined else event.voice_start,
            received=received,
            fallback=given.fallback,
            not_again=whole.fallback,
        )
        start = joined.start if joined else event.start
        await self._trace(heard, start)
        return self._decide(heard, event, start, held)

    def _decide(self, heard: Heard, event: EndOfTurn, start: int, held: Heard | None) -> Heard | None:
        """Answer now, wait for the rest of the sentence, or take it for a noise."""
        half = _Half(start, heard.start or 0, event.speech_end, heard.accepted, self._speaker.sent)
        if heard.accepted:
            self._last = half
            return heard
        if held is not None or event.forced:
            self._last = None
            return heard
        if samples_to_ms(event.voiced) < NOISE_MS:
            return None
        self._last = half
        self._held, self._hold_until = heard, event.at + ms_to_samples(self._params.hold_ms)
        return None

    def _heard_answer(self, half: _Half) -> bool:
        """Whether the caller has heard enough of the answer to ``half`` to be replying to it now."""
        heard = self._speaker.sent - half.sent - self._speaker.unheard
        return heard >= ms_to_samples(HEARD_MS) or (heard > 0 and not self._speaker.talking)

    def _half_before(self, event: EndOfTurn) -> _Half | None:
        """The utterance that this one may continue."""
        half = self._last
        if half is None or (not half.answered and self._held is None):
            return None
        speech_start = event.start + ms_to_samples(self._params.turn.preroll_ms)
        return half if speech_start - half.speech_end <= ms_to_samples(self._params.resume_ms) else None

    async def _whole(self, half: _Half, event: EndOfTurn, second: Transcript) -> Served[Transcript | None]:
        """Both halves heard as one, where that makes a sentence."""
        hearing = self._stages.hear()
        await hearing.feed(self._recent.between(half.start, event.at))
        given = await hearing.finish()
        whole = given.value
        if whole is None or not whole.accepted:
            return Served(None, given.fallback)
        surer = not second.accepted or whole.confidence >= WHOLE_OVER_HALF * second.confidence
        return given if surer else Served(None)

    async def _trace(self, heard: Heard, start: int) -> None:
        await self._speaker.trace(
            "transcript",
            text=heard.text,
            accepted=heard.accepted,
            confidence=round(heard.confidence, 3),
            start_ms=samples_to_ms(start),
            end_ms=samples_to_ms(heard.at),
            resumed=heard.resumed,
        )


def _ms_since(began: float) -> float:
    return (time.monotonic() - began) * 1000
