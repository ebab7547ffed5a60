"""What a gateway plays when, and which marks it has passed."""

from __future__ import annotations

import numpy as np

from calling.playback import Playback


def test_the_caller_plays_audio_on_a_clock_and_echoes_marks_when_they_are_reached() -> None:
    playback = Playback(160)
    playback.add(np.full(240, 1, dtype=np.int16))
    playback.mark("a")
    playback.add(np.full(160, 2, dtype=np.int16))
    playback.mark("b")

    frames = [playback.tick() for _ in range(2)]
    cleared = playback.clear()

    assert [(pcm.tolist(), marks) for pcm, marks in frames] == [([1] * 160, []), ([1] * 80 + [2] * 80, ["a"])]
    assert cleared == ["b"]
    assert playback.empty
