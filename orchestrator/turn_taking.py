"""Turn taking: from frames and voice activity to "began to speak", "interrupts" and "has finished".

A state machine on the sample clock. It reads no clock of the wall, so a test runs a call as fast as it can, and a late
or lost packet does not end a turn; :meth:`TurnTaker.cut` is for whoever notices that the samples have stopped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from orchestrator.vad import Vad, VoiceActivity
from orchestrator.wall_clock import CALL_RATE
from parley.audio import FRAME_SAMPLES, Pcm, ms_to_samples


@dataclass(frozen=True)
class TurnParams:
    """How long is long enough, in milliseconds (seconds where it says so)."""

    end_of_turn_ms: int = 400
    """Silence after speech that ends the turn."""
    preroll_ms: int = 500
    """Audio before the detected start that belongs to the utterance: voice activity notices soft starts late."""
    barge_in_ms: int = 300
    """Speech that interrupts the bot; less is a cough or an "mhm"."""
    max_utterance_s: float = 15.0
    no_input_s: float = 6.0
    """Time without speech that counts, after which the caller is asked again."""


@dataclass(frozen=True)
class SpeechStarted:
    """The caller began to speak. ``at`` is the first sample of the utterance, pre-roll included."""

    at: int


@dataclass(frozen=True)
class SpeechAudio:
    """Audio of the utterance in hand, pre-roll first. int16 ``[n]``."""

    pcm: Pcm


@dataclass(frozen=True)
class BargeIn:
    """The caller has spoken for long enough over the bot: it must stop."""

    at: int


@dataclass(frozen=True)
class EndOfTurn:
    """The caller has finished. Samples are counted from the start of the call."""

    start: int
    speech_end: int
    """One past the last sample that held speech."""
    at: int
    voiced: int = 0
    """Samples in it that held speech."""
    forced: bool = False
    """Whether the longest utterance was reached instead of a silence."""
    interrupted: bool = False
    """Whether it interrupted the bot, or had no bot to interrupt: if not, it was said under the bot's speech."""
    voice_start: int = 0
    """The first sample that held speech, after the pre-roll."""


@dataclass(frozen=True)
class NoInput:
    """Nobody has said anything that counts for the time set (`orchestrator.wall_clock.Patience`)."""

    at: int


TurnEvent = SpeechStarted | SpeechAudio | BargeIn | EndOfTurn


class TurnTaker:
    """Who has the floor, in one call. Feed it every inbound sample."""

    def __init__(self, params: TurnParams | None = None, vad: VoiceActivity | None = None) -> None:
        self.params = params or TurnParams()
        self._vad = vad or Vad()
        self._rest = np.zeros(0, dtype=np.int16)
        self._preroll: deque[Pcm] = deque(maxlen=max(1, ms_to_samples(self.params.preroll_ms) // FRAME_SAMPLES))
        self.samples = 0
        """The sample clock: samples taken so far, in whole frames."""
        self.speaking = False
        """Whether an utterance of the caller is in hand."""
        self._start = 0
        self._voice_start = 0
        self._speech_end = 0
        self._voiced = 0
        self._over_bot = False

    def push(self, pcm: Pcm, *, bot_speaking: bool, own_voice: bool = False) -> list[TurnEvent]:
        """Take int16 samples ``[n]`` of any length; whole frames are looked at, the rest waits for more.

        Args:
            pcm: what came from the caller.
            bot_speaking: whether the caller hears the bot now.
            own_voice: whether what came just before turned out to be the bot's own voice, not the caller's.
        """
        events = self._disown() if own_voice else []
        audio = np.concatenate([self._rest, pcm]) if len(self._rest) else pcm
        whole = len(audio) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = audio[whole:]
        if not whole:
            return events
        frames = audio[:whole]
        for index, active in enumerate(self._vad.push(frames)):
            frame = frames[index * FRAME_SAMPLES : (index + 1) * FRAME_SAMPLES]
            self.samples += FRAME_SAMPLES
            events += (
                self._during(frame, active, bot_speaking)
                if self.speaking
                else self._between(frame, active, bot_speaking)
            )
        return events

    def cut(self) -> list[TurnEvent]:
        """No more samples come for now: an utterance in hand is over. One that goes on when they do is a new one."""
        return [self._end(forced=False)] if self.speaking else []

    def _disown(self) -> list[TurnEvent]:
        """An utterance that has interrupted nobody, or hardly began, was none: nothing is heard in it."""
        if not self.speaking or not (self._over_bot or self._voiced < ms_to_samples(self.params.barge_in_ms)):
            return []
        self._over_bot = True
        return [self._end(forced=False)]

    def _between(self, frame: Pcm, active: bool, bot_speaking: bool) -> list[TurnEvent]:
        self._preroll.append(frame)
        if active:
            pcm = np.concatenate(list(self._preroll))
            self._preroll.clear()
            self.speaking, self._over_bot = True, bot_speaking
            self._start, self._speech_end = self.samples - len(pcm), self.samples
            # The frames that woke the detector were speech too.
            self._voiced = min(len(pcm), 3 * FRAME_SAMPLES)
            self._voice_start = self.samples - self._voiced
            return [SpeechStarted(self._start), SpeechAudio(pcm)]
        return []

    def _during(self, frame: Pcm, active: bool, bot_speaking: bool) -> list[TurnEvent]:
        events: list[TurnEvent] = [SpeechAudio(frame)]
        if bot_speaking and not self._over_bot and self._voiced < ms_to_samples(self.params.barge_in_ms):
            self._over_bot = True  # the bot began to answer an earlier turn while this one had hardly begun
        if active:
            self._speech_end = self.samples
            self._voiced += FRAME_SAMPLES
        if self._over_bot and not bot_speaking:
            self._over_bot = False  # it finished on its own: nobody to interrupt
        if self._over_bot and self._voiced >= ms_to_samples(self.params.barge_in_ms):
            self._over_bot = False
            events.append(BargeIn(self.samples))
        forced = self.samples - self._start >= self.params.max_utterance_s * CALL_RATE
        if forced or self.samples - self._speech_end >= ms_to_samples(self.params.end_of_turn_ms):
            events.append(self._end(forced))
        return events

    def _end(self, forced: bool) -> EndOfTurn:
        self.speaking = False
        self._preroll.clear()
        return EndOfTurn(
            self._start,
            self._speech_end,
            self.samples,
            self._voiced,
            forced,
            interrupted=not self._over_bot,
            voice_start=self._voice_start,
        )
