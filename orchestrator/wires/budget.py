"""What one call may ask of the process, by the wall clock: one gateway's flood must not become other callers' silence.

    budget = Budget(clock, 8000)
    if not budget.message(len(text)): ...  # drop it unread
    taken = payload[: budget.audio(n)]     # a burst and a catch-up are taken, a flood is cut
    silence = budget.silence(missing)      # only for time that has really passed
    if budget.spent: ...                   # end the call

Audio, silence put in for losses included, is never more than the wall clock since the start plus :data:`AUDIO_AHEAD_S`.
Carriers do send bursts: what was queued before the call was answered, jitter, and all of a stall at once after it.
"""

from __future__ import annotations

from orchestrator.wall_clock import Clock
from orchestrator.wires.line import MAX_MESSAGE_BYTES

AUDIO_AHEAD_S = 5.0
"""Audio that may be taken beyond the time that has passed."""
CATCH_UP_S = 5.0
"""Of a stall, what may be caught up with at once, beside :data:`AUDIO_AHEAD_S`."""
SILENCE_AHEAD_S = 2.0
"""Silence is put in only up to here, so that wild timestamps never use up what real audio needs."""
SILENCE_SLACK_S = 0.3
"""A loss may seem this much longer than the time that has passed: less than a pause that ends a turn."""
FLOOD_AUDIO_S = 30.0
"""Audio dropped within some minutes that ends the call."""
MESSAGES_PER_S, MESSAGES_AT_ONCE = 250.0, 1000.0
"""Audio in pieces of 10 ms is 100 messages a second; 5 s of it may come at once. A long message counts for several."""
BYTES_A_MESSAGE = 1024
FLOOD_MESSAGES = 1000.0
"""Messages dropped within some minutes that end the call."""
MAX_WIRE_ERRORS = 20
"""Messages in a short time that cannot be read, after which a call ends with an apology."""
BROKEN_PER_S = 0.1
"""One broken message in ten seconds is borne for ever."""
_FORGIVEN = 0.1
"""Share of the allowed rate at which dropped things are forgotten."""


class Bucket:
    """A leaky bucket: filled by what is done, emptied by time, at ``rate`` a second."""

    def __init__(self, clock: Clock, rate: float, lowest: float = 0.0) -> None:
        self._clock = clock
        self._rate = rate
        self._lowest = lowest
        self._level = 0.0
        self._at = clock.now()

    @property
    def level(self) -> float:
        """What is in it now."""
        now = self._clock.now()
        # A clock that goes backwards takes nothing away and gives nothing.
        self._level = max(self._lowest, self._level - self._rate * max(0.0, now - self._at))
        self._at = now
        return self._level

    def add(self, amount: float) -> None:
        """Put in."""
        self._level = self.level + amount


class Budget:
    """The budget of one call.

    Args:
        clock: the wall clock.
        rate: samples a second of the audio, in Hz.
    """

    def __init__(self, clock: Clock, rate: int) -> None:
        self._rate = rate
        self.dropped_messages = 0
        self.dropped_samples = 0
        self.broken_messages = 0
        self.spent = ""
        """Why the call must end: ``flooded`` or ``wire_error``; empty while it need not."""
        self._clock = clock
        self._audio = Bucket(clock, rate, lowest=-CATCH_UP_S * rate)
        self._audio_at = clock.now()
        self._messages = Bucket(clock, MESSAGES_PER_S)
        self._flood_audio = Bucket(clock, rate * _FORGIVEN)
        self._flood_messages = Bucket(clock, MESSAGES_PER_S * _FORGIVEN)
        self._broken = Bucket(clock, BROKEN_PER_S)

    def message(self, size: int) -> bool:
        """Whether another message, of so many bytes, may be read."""
        cost = 1 + min(size, MAX_MESSAGE_BYTES) // BYTES_A_MESSAGE  # a longer one is refused unread
        if self._messages.level + cost <= MESSAGES_AT_ONCE:
            self._messages.add(cost)
            return True
        self.dropped_messages += 1
        self._flood_messages.add(cost)
        if self._flood_messages.level > FLOOD_MESSAGES:
            self.spent = "flooded"
        return False

    def audio(self, samples: int) -> int:
        """How many of so many samples of audio may be taken now; they are taken."""
        taken = max(0, min(samples, int(AUDIO_AHEAD_S * self._rate - self._audio.level)))
        self._audio.add(taken)
        self._audio_at = self._clock.now()
        if taken < samples:
            self.dropped_samples += samples - taken
            self._flood_audio.add(samples - taken)
            if self._flood_audio.level > FLOOD_AUDIO_S * self._rate:
                self.spent = "flooded"
        return taken

    def silence(self, samples: int) -> int:
        """How many of so many lost samples may be replaced by silence: those whose time has passed; they are taken."""
        behind = -self._audio.level
        passed = max(behind, (self._clock.now() - self._audio_at) * self._rate)
        most = min(passed + SILENCE_SLACK_S * self._rate, SILENCE_AHEAD_S * self._rate + behind)
        taken = max(0, min(samples, int(most)))
        self._audio.add(taken)
        return taken

    def broken(self) -> None:
        """A message could not be read."""
        self.broken_messages += 1
        self._broken.add(1)
        if self._broken.level > MAX_WIRE_ERRORS - 1:
            self.spent = "wire_error"

    def figures(self) -> dict[str, float]:
        """What was dropped, for the log."""
        return {
            "wire_errors": self.broken_messages,
            "dropped_messages": self.dropped_messages,
            "dropped_ms": self.dropped_samples * 1000 / self._rate,
        }


class NoBudget:
    """No limits: for audio that is already here."""

    def audio(self, samples: int) -> int:
        """See `Budget`."""
        return samples

    def silence(self, samples: int) -> int:
        """See `Budget`."""
        return samples
