"""What the caller has heard of the bot: a clock of samples sent, settled by the gateway's mark echoes where they come.

Some gateways never echo a mark, so the clock runs by itself, on the inbound sample clock; an echo only corrects it. A
lost echo can therefore never leave the bot "speaking" for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SpokenWord:
    """A word and the sample, counted from the first one ever sent in the call, at which it ends."""

    word: str
    end: int


class Playout:
    """Samples sent and played in one call. ``now`` is always the inbound sample clock."""

    def __init__(self) -> None:
        self.sent = 0
        """Samples sent since the call began; those that a ``clear`` took back are counted off."""
        self._until = 0
        self._marks: dict[str, int] = {}
        self._words: list[SpokenWord] = []

    def send(self, samples: int, words: Sequence[SpokenWord], mark: str, now: int) -> None:
        """A piece was sent, and a mark after it.

        Args:
            samples: its length.
            words: words that end in this piece.
        """
        self._words += words
        self.sent += samples
        self._until = max(self._until, now) + samples
        self._marks[mark] = self.sent

    def echoed(self, mark: str, now: int) -> None:
        """The gateway says that everything up to this mark was played. Unknown and cleared marks say nothing."""
        position = self._marks.pop(mark, None)
        if position is not None:
            self._until = now + self.sent - position

    def speaking(self, now: int) -> bool:
        """Whether the caller still hears the bot."""
        return now < self._until

    def settled(self) -> bool:
        """Whether every mark came back."""
        return not self._marks

    def played(self, now: int) -> int:
        """Samples the caller has heard since the call began."""
        return self.sent - max(0, self._until - now)

    def heard_words(self, since: int, now: int) -> list[str]:
        """Words heard in full, of the audio sent after sample ``since``."""
        played = self.played(now)
        return [spoken.word for spoken in self._words if since < spoken.end <= played]

    def clear(self, now: int) -> int:
        """The rest was dropped by a ``clear``: forget its marks. Returns the samples dropped."""
        dropped = self.sent - self.played(now)
        self.sent -= dropped
        self._words = [spoken for spoken in self._words if spoken.end <= self.sent]
        self._marks.clear()
        self._until = now
        return dropped
