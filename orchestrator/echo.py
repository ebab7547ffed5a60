"""The bot's own voice coming back: found by comparing what came in with what was sent, and taken out of it.

    guard = EchoGuard()
    guard.sent.play(pcm)               # what the bot says; the gateway plays it from now on
    heard = guard.clean(frames)        # what came in, without it

Nothing is touched until an echo is *proven*: two stretches that each resemble what was sent, at the same delay, and a
filter that learns on the first what to expect in the second. On a line without echo every sample passes unchanged, and
so does a caller who repeats the bot's words: another voice is not the same wave. Once proven, a filter follows the line
(its delay, its hybrid, 100 ms of a room) and its prediction is taken off. What it knows that it may have missed is
brought down to the line's noise, unless there is more than that: then somebody speaks over the bot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import log10

import numpy as np
from numpy.typing import NDArray

from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, Pcm, ms_to_samples

_Floats = NDArray[np.float64]
_Complex = NDArray[np.complex128]

EARLIEST, LATEST = ms_to_samples(-100), ms_to_samples(600)
"""Delays looked at. Our clock of what is played is a guess where marks are missing: an echo may even seem early."""
ALIKE, SAME = 30.0, 110.0
"""Likeness worth a second look, and that needs none. Of other voices one search in fifty reaches 30, none 60."""
_SURELY = 150.0
"""Likeness that overrules any echo known; less does if that was known by less than half of it."""
PROOF_DB = 2.5
"""The second look: how much less a filter that learned on the first stretch must leave of the second. By chance: 1."""
OVER_DB, _OVER_TOTAL_DB = 2.0, 3.0
"""More than twice what may be left, in the mean of the bands, or by so much more in all: somebody speaks."""
_DOUBT_DB, _SURER = 3.0, 0.985
"""So much more at first, when the filter has seen little, and how fast that falls off, a frame."""
_OVER_FRAMES = 8
"""For how long that holds: words have soft parts."""
_HEARD_FRAMES, _FEWEST_FRAMES = 20, 12
"""Frames that are compared, at most and at least."""
_SEARCH_FRAMES, _TRIES, _LATER_FRAMES = 3, 8, 12
"""How often, so often in one stretch of sound, and how often from then on: a search takes as long as ten frames."""
_SINCE = ms_to_samples(300)
"""For how long after the bot's last word an echo is looked for: what little can be compared is no proof."""
_KEPT = LATEST + ms_to_samples(1000)
_PAUSE = ms_to_samples(200)
"""After this a gateway begins to play anew, some packets earlier or later than it did before."""
_HANGOVER = ms_to_samples(300)
"""For how long voice activity goes on hearing an echo that was found just now."""
_QUIETEST = 12.0
"""RMS below which nothing is looked for: voice activity hears nothing there either."""


class SentAudio:
    """What the bot sent, by the sample of the inbound clock at which it is played; silence elsewhere.

    Marks do not move it: an echo must keep its delay, and the delay is looked for anyway.

    Args:
        passed: samples' worth of time since the last of the inbound clock. When nothing comes in, what is sent is
            played all the same; what comes in later belongs to that time or after it.
    """

    def __init__(self, passed: Callable[[], int] = lambda: 0) -> None:
        self._passed = passed
        self._audio = np.zeros(0)
        self._first = 0
        self.now = 0
        """The inbound sample clock: its listener moves it."""
        self.until = self.began = 0
        """One past the last sample that is played, and where the last piece after a pause begins."""

    def play(self, pcm: Pcm) -> None:
        """A piece was sent: it is played when those before it are over."""
        start = max(self.until, self.now + self._passed())
        self._forget(self.now - _KEPT)
        if start - self.until > _PAUSE:
            self.began = start
        gap = np.zeros(start - self._first - len(self._audio))
        self._audio = np.concatenate([self._audio, gap, pcm])
        self.until = start + len(pcm)

    def clear(self) -> None:
        """What is not played yet never is."""
        now = self.now + self._passed()
        self._audio = self._audio[: max(0, now - self._first)]
        self.until = min(self.until, now)

    def between(self, start: int, end: int) -> _Floats:
        """Samples ``start`` to ``end`` of the clock."""
        out = np.zeros(end - start)
        left, right = max(start, self._first), min(end, self._first + len(self._audio))
        if right > left:
            out[left - start : right - start] = self._audio[left - self._first : right - self._first]
        return out

    def _forget(self, before: int) -> None:
        if before >= self._first + len(self._audio):
            self._audio, self._first = self._audio[:0], before
        elif before > self._first:
            self._audio, self._first = self._audio[before - self._first :], before


_FFT = 8192
_HERTZ = np.fft.rfftfreq(_FFT, 1 / TELEPHONE_RATE)
_TELEPHONE = ((_HERTZ > 250) & (_HERTZ < 3600)).astype(np.float64)
_WHITEN = 0.7
"""Between plain correlation (0) and phase alone (1): noise fills the bins that speech leaves empty."""
_FEWEST_LAGS = ms_to_samples(80)
_SMOOTH = 12
"""Lags over which a peak is summed: an echo through a line is not one sample wide."""


def _whitened(wave: _Floats) -> _Complex:
    spectrum = np.fft.rfft(wave, _FFT)
    return np.asarray(spectrum * (_TELEPHONE / (np.abs(spectrum) + 1e-3) ** _WHITEN))


def likeness(heard: _Floats, sent: _Floats) -> _Floats:
    """How much ``heard`` ``[n]`` resembles ``sent`` ``[n + lags]`` from each sample on, ``[lags]``; 3 is chance.

    Correlation of whitened waves (GCC-PHAT, Knapp & Carter 1976, with an exponent), squared, relative to the energy of
    the stretch it was found in and to the rest of them. Nothing is alike where too little was sent to compare with.
    """
    count, lags = len(heard), len(sent) - len(heard)
    white = _whitened(sent)
    power = np.fft.irfft(np.conj(_whitened(heard)) * white, _FFT)[:lags] ** 2
    energy = np.cumsum(np.fft.irfft(white, _FFT)[: lags + count] ** 2)
    energy = energy[count:] - energy[:-count]
    told = energy > 0.2 * energy.max()
    if np.count_nonzero(told) < _FEWEST_LAGS:
        return np.zeros(lags)
    power = np.where(told, power / (energy + 1e-9), 0.0)
    others = np.sort(power[told])[: -np.count_nonzero(told) // 20]
    sums = np.cumsum(np.concatenate([np.zeros(_SMOOTH // 2 + 1), power, np.zeros(_SMOOTH // 2)]))
    return np.asarray((sums[_SMOOTH:] - sums[:-_SMOOTH])[:lags] / (others.mean() * 1.3 * _SMOOTH**0.5 + 1e-12))


def find_delay(heard: _Floats, sent: SentAudio, end: int) -> tuple[int, float]:
    """The delay at which both halves of ``heard`` ``[n]``, which ends at sample ``end``, resemble what was sent.

    Returns:
        Delay in samples, and the likeness.
    """
    half = len(heard) // 2
    first, second = (
        likeness(part, sent.between(stop - half - LATEST, stop - EARLIEST))
        for part, stop in ((heard[:half], end - half), (heard[half:], end))
    )
    both = first * second
    both[LATEST:] *= 0.25  # earlier than sent: only where nothing else is as likely
    peak = int(np.argmax(both))
    return LATEST - peak, float(both[peak]) ** 0.5


class Canceller:
    """Predicts the echo from what was sent: a partitioned Kalman filter in the frequency domain.

    (Enzner & Vary 2006; Kuech, Mabande & Enzner 2014.) It knows how sure it is of each coefficient, so it learns fast
    at first, hardly while the caller speaks, and can say how much echo its prediction may have missed.
    """

    PARTS = 6
    LEAD = ms_to_samples(15)
    """The filter begins this long before the delay found: a line's strongest path need not be its first."""
    BINS = FRAME_SAMPLES + 1
    _DRIFT = 0.9995**2
    _TRUST = 0.08
    """Share by which one frame makes it surer: in theory a half, but frames of a voice say the same thing again."""
    _LEAK = 0.05
    """Of the echo predicted, what may be left however sure the filter is: codecs are not linear."""
    _ANEW, _SETTLES = 1.5, 0.93
    """The same when the bot begins to speak, for the delay may be another; and how that falls off, a frame."""
    _WINDOW = np.arange(2 * FRAME_SAMPLES) < FRAME_SAMPLES

    def __init__(self, sent: SentAudio, delay: int, gain: float) -> None:
        """``gain``: of the echo over what was sent, as power; where to begin."""
        self.delay = delay
        self._sent, self._began = sent, sent.began
        self._leak = self._LEAK
        self._weights = np.zeros((self.PARTS, self.BINS), dtype=np.complex128)
        decay = np.exp(-np.arange(self.PARTS) / 2.0)
        self._unsure = np.repeat((gain * decay / decay.sum())[:, None], self.BINS, axis=1)
        self._near = np.full(self.BINS, 1e3)
        self.left = np.zeros(self.BINS)
        """Power of what is left of the last frame, ``[161]``."""
        self.missed = np.zeros(self.BINS)
        """How much of that may be echo, ``[161]``."""

    def reaches(self, start: int) -> bool:
        """Whether audio that was sent can be heard in the frame at ``start``."""
        return start - self.delay + self.LEAD - self.PARTS * FRAME_SAMPLES < self._sent.until

    @property
    def settled(self) -> bool:
        """Whether the delay has been seen to be right since the bot began to speak."""
        return self._leak < 0.2

    def step(self, heard: _Floats, start: int) -> _Floats:
        """What is left of the next frame ``[160]``; learns from it."""
        if self._began < self._sent.began <= start - self.delay + self.LEAD:
            self._began, self._leak = self._sent.began, self._ANEW
        self._leak = max(self._LEAK, self._leak * self._SETTLES)
        waves = self._spectra(start)
        both = np.zeros((2, 2 * FRAME_SAMPLES))
        both[1, FRAME_SAMPLES:] = echo = np.fft.irfft((waves * self._weights).sum(axis=0))[FRAME_SAMPLES:]
        both[0, FRAME_SAMPLES:] = left = heard - echo
        rest, predicted = np.fft.rfft(both, axis=1)
        power = waves.real**2 + waves.imag**2
        unsure = 0.5 * (power * self._unsure).sum(axis=0)
        self.left = rest.real**2 + rest.imag**2
        self.missed = unsure + self._leak * (predicted.real**2 + predicted.imag**2)
        self._near += 0.5 * (np.maximum(self.left - unsure, 0.2 * self.left) - self._near)
        step = self._unsure / (unsure + self._near + 1.0)
        update = np.fft.irfft(step * np.conj(waves) * rest, axis=1)
        self._weights += np.fft.rfft(update * self._WINDOW, axis=1)
        self._unsure *= self._DRIFT * (1 - self._TRUST * step * power)
        self._unsure += (1 - self._DRIFT) * (self._weights.real**2 + self._weights.imag**2)
        return left

    def _spectra(self, start: int) -> _Complex:
        first = start - self.delay + self.LEAD
        audio = self._sent.between(first - self.PARTS * FRAME_SAMPLES, first + FRAME_SAMPLES)
        blocks = np.lib.stride_tricks.sliding_window_view(audio, 2 * FRAME_SAMPLES)[::FRAME_SAMPLES][::-1]
        return np.fft.rfft(blocks, axis=1)


class EchoGuard:
    """Takes the bot's own voice out of one call's inbound audio."""

    _BANDS = slice(10, 140)  # 250 to 3500 Hz, in 13 bands of 10 bins
    _RAMP = np.minimum(1.0, np.arange(1, FRAME_SAMPLES + 1) / 40)

    def __init__(self, sent: SentAudio | None = None) -> None:
        self.sent = sent or SentAudio()
        self.revealed = False
        """Whether the last audio showed that what came just before it was the bot's own voice."""
        self._recent: deque[Pcm] = deque(maxlen=_HEARD_FRAMES)
        self._rests: deque[float] = deque(maxlen=_HEARD_FRAMES)
        self._level = self._quiet = -1.0
        self._canceller: Canceller | None = None
        self._smooth = self._floor = np.zeros(Canceller.BINS)
        self._tries = self._over = 0
        self._alike, self._revealing = 0.0, -1
        self._gain, self._score, self._doubt = 1.0, 0.0, 0.0

    @property
    def proven(self) -> bool:
        """Whether the line is known to return what is sent."""
        return self._canceller is not None

    def clean(self, pcm: Pcm) -> Pcm:
        """What came in, whole frames of int16 ``[n * 160]``, without the bot's own voice; as many samples."""
        cleaned = np.concatenate([self._frame(frame) for frame in pcm.reshape(-1, FRAME_SAMPLES)])
        self.revealed = self.sent.now <= self._revealing and not self._over
        return cleaned

    def _frame(self, frame: Pcm) -> Pcm:
        start, wave = self.sent.now, frame.astype(np.float64)
        self.sent.now += FRAME_SAMPLES
        self._recent.append(frame)
        energy = float(wave @ wave)
        self._follow_quiet(energy / FRAME_SAMPLES)
        self._rests.append(energy)
        every = FRAME_SAMPLES * (_SEARCH_FRAMES if self._tries < _TRIES else _LATER_FRAMES)
        known = self._canceller
        wanted = known is None or self._over or not known.settled
        if wanted and start - self.sent.until < _SINCE and start % every == 0:
            self._search()
        if self._canceller is None or not self._canceller.reaches(start):
            return frame
        left = self._canceller.step(wave, start)
        self._rests[-1] = float(left @ left)
        return self._spared(left, self._canceller)

    def _follow_quiet(self, level: float) -> None:
        """The power of the line's noise: the least of late, which rises by 2 dB a second."""
        if self._level < 0:
            self._level = self._quiet = level
        self._level += 0.5 * (level - self._level)
        self._quiet = min(self._quiet * 1.01 + 0.01, self._level)

    def _search(self) -> None:
        """Look for an echo, or for the one that is known at another delay: a packet was lost, a clock adjusted."""
        if len(self._recent) < _FEWEST_FRAMES:
            return
        known = self._canceller
        count = len(self._recent) // 2 * 2 if known is None else _FEWEST_FRAMES
        heard = np.concatenate(list(self._recent)[-count:]).astype(np.float64)
        levels = np.sqrt((heard.reshape(2, -1) ** 2).mean(axis=1))
        begin = self.sent.now - len(heard)
        if levels.min() < max(_QUIETEST, 1.5 * self._quiet**0.5):
            self._tries = 0
            return
        if not self.sent.between(begin - LATEST, self.sent.now).any():
            return
        self._tries += 1
        delay, alike = find_delay(heard, self.sent, self.sent.now)
        if alike > ALIKE and (known is None or abs(delay - known.delay) > 2 * _SMOOTH):
            self._learn(heard, begin, delay, alike)

    def _learn(self, heard: _Floats, begin: int, delay: int, alike: float) -> None:
        """Take to an echo of this delay, if it is one beyond doubt or a new filter leaves less than there is now."""
        sent = self.sent.between(begin - delay, begin - delay + len(heard))
        new = Canceller(self.sent, delay, min(1.0, float(heard @ heard) / (float(sent @ sent) + 1e-9)))
        frames = list(zip(heard.reshape(-1, FRAME_SAMPLES), range(begin, self.sent.now, FRAME_SAMPLES), strict=True))
        rests = [new.step(*frame) for frame in frames]
        half = len(frames) // 2
        before, now = sum(list(self._rests)[-half:]), sum(float(rest @ rest) for rest in rests[-half:])
        beyond_doubt = alike > max(SAME, min(2 * self._alike, _SURELY))
        if not beyond_doubt and now * 10 ** (PROOF_DB / 10) > before:
            return
        for frame in frames:
            new.step(*frame)
        if self._canceller is None:
            self._floor = np.full(Canceller.BINS, self._quiet * FRAME_SAMPLES)
            self._smooth = self._floor.copy()
        self._canceller, self._alike, self._over = new, alike, 0
        self._revealing = self.sent.now + _HANGOVER
        self._doubt, self._tries = _DOUBT_DB, 0

    def _spared(self, left: _Floats, canceller: Canceller) -> Pcm:
        """The frame as it is where somebody speaks in it; brought down to the line's noise where it is echo."""
        self._smooth += 0.3 * (canceller.left - self._smooth)
        self._floor = np.minimum(self._floor * 1.03 + 1, self._smooth)
        seen = canceller.left[self._BANDS].reshape(-1, 10).sum(axis=1)
        expected = 2 * (canceller.missed + self._floor)[self._BANDS].reshape(-1, 10).sum(axis=1)
        bands = float(np.mean(np.clip(10 * np.log10((seen + 1) / (expected + 1)), -6, 15)))
        whole = 10 * log10((float(seen.sum()) + 1) / (float(expected.sum()) + 1)) - _OVER_TOTAL_DB
        self._score += 0.5 * (max(bands, whole) - self._score)
        self._doubt *= _SURER
        self._over = _OVER_FRAMES if self._score > OVER_DB + self._doubt else max(0, self._over - 1)
        gain = 1.0 if self._over else min(1.0, (self._quiet / (float(left @ left) / FRAME_SAMPLES + 1e-3)) ** 0.5)
        ramp = self._gain + (gain - self._gain) * self._RAMP
        self._gain = gain
        return np.clip(np.round(left * ramp), -32768, 32767).astype(np.int16)
