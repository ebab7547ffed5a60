"""From one sample rate to another, as audio comes: a gateway's rate and a call's meet here."""

from __future__ import annotations

import numpy as np
import soxr

from parley.audio import Pcm


class Resampler:
    """One stream of audio at another rate, by libsoxr. In step with its input, but for 15 ms (down) or 30 ms (up) that
    wait for what follows: its variable-rate filter, for the fixed ones hold back 115 ms."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        """Rates in Hz."""
        self.rate_in = rate_in
        # Floats: soxr adds dither to integers, and silence must stay silence.
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", vr=True)

    def push(self, pcm: Pcm, *, last: bool = False) -> Pcm:
        """The next samples, int16 ``[n]``; what is known of them at the other rate, int16 ``[m]``.

        Args:
            last: whether nothing goes on from them: then all of it is, and what comes next begins anew.
        """
        out = self._stream.resample_chunk(pcm.astype(np.float32), last=last)
        if last:
            self._stream.clear()
        return np.asarray(np.rint(out).clip(-32768, 32767), dtype=np.int16)

    def restart(self) -> None:
        """What waits is given up."""
        self._stream.clear()
