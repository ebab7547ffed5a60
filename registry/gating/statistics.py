"""The tests behind the gate: two models judged on the same utterances, by the same people.

Recordings of one speaker succeed and fail together, so the speaker is what counts as one observation. The decision
(:func:`gain_p`) rests on the speaker-level sign flip, because its level is exact for models that are interchangeable,
whatever the number of speakers; the cluster bootstrap is too sure of itself when speakers are few
(`python -m benchmarks.gate` shows by how much) and is given for description only.

    p = gain_p(gains=[1, 0, 2, 1, 1, 3, 0, 1], sizes=[12] * 8, null=0.0, table=(11, 2, 96))

Needs numpy and nothing else: the gate runs where nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NORMAL = NormalDist()

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effort:
    """How far distributions are worked out exactly; beyond, they are drawn."""

    additions: int = 50_000_000
    """For which the exact distribution of sign flips is worked out."""
    flips: int = 100_000
    """Drawn sign flips that take its place."""
    listed_speakers: int = 14
    """Up to so many, every subset's mean is listed for the interval."""
    subsets: int = 20_000
    """Drawn subsets that take their place."""


def smallest_speakers(alpha: float) -> int:
    """The fewest speakers with which :func:`sign_flip_p` can reach ``alpha`` at all: 6 for 0.025."""
    return math.ceil(math.log2(1 / alpha))


def sign_flip_p(
    gains: ArrayLike, sizes: ArrayLike, null: float = 0.0, seed: int = 1, effort: Effort = Effort()
) -> float:
    """One-sided p-value that the gain per unit is more than ``null``.

    Under the null each speaker's excess ``gain - null * size`` is as likely with the other sign; the p-value is the
    share of all sign patterns whose sum is at least the observed one. With ``null`` 0 and interchangeable models this
    is exact for every number and size of speakers; for another null it rests on the excess being symmetric. The sum
    of squares is the same in every pattern, so the test is also the one of the t statistic.

    Source: Fisher 1935, Design of Experiments, §21; as the group invariance test of clusters, Canay, Romano and
    Shaikh 2017 (Econometrica 85). Drawn patterns, where there are too many: Phipson and Smyth 2010.

    Args:
        gains: integers ``[speakers]``, units the candidate got right more than the champion.
        sizes: integers ``[speakers]``, units judged.
        null: gain per unit to be exceeded; -margin tests non-inferiority.
        seed: of the drawn patterns; the exact distribution needs none.
        effort: where the exact distribution ends.
    """
    excess = _excess(gains, sizes, null)
    if not len(excess):
        return 1.0
    width = int(np.abs(excess).sum()) + 1
    if width * len(excess) <= effort.additions:
        return _share_of_subsets_not_above_zero(excess, width)
    flips = np.random.default_rng(seed).integers(0, 2, (effort.flips, len(excess)), dtype=np.int8)
    return float((1 + np.count_nonzero(flips @ excess <= 0)) / (1 + effort.flips))


def _excess(gains: ArrayLike, sizes: ArrayLike, null: float) -> Ints:
    """``gain - null * size`` as whole numbers without a common factor; speakers at exactly 0 change nothing."""
    ratio = Fraction(null).limit_denominator(10_000)
    gained: Ints = np.asarray(gains, np.int64)
    judged: Ints = np.asarray(sizes, np.int64)
    scaled: Ints = gained * ratio.denominator - ratio.numerator * judged
    scaled = np.asarray(scaled[scaled != 0], np.int64)
    if not len(scaled):
        return scaled
    reduced: Ints = scaled // np.gcd.reduce(scaled)
    return reduced


def _share_of_subsets_not_above_zero(excess: Ints, width: int) -> float:
    """A pattern's sum is at least the observed one exactly when the speakers it flips sum to 0 or less.

    The number of subsets with each sum follows by adding one speaker at a time (Pagano and Tritchler 1983).
    """
    lowest = int(-excess[excess < 0].sum())
    shares = np.zeros(width)
    shares[lowest] = 1.0
    for step in excess:
        moved = np.zeros(width)
        if step > 0:
            moved[step:] = shares[:-step]
        else:
            moved[:step] = shares[-step:]
        shares = (shares + moved) / 2
    return float(min(1.0, shares[: lowest + 1].sum()))


def sign_flip_interval(
    gains: ArrayLike, sizes: ArrayLike, alpha: float = 0.025, seed: int = 1, effort: Effort = Effort()
) -> tuple[float, float]:
    """The gains per unit that :func:`sign_flip_p` does not reject on either side, ``alpha`` on each.

    So a gain is significant exactly when its interval lies above 0: picture and decision cannot disagree. Its ends
    are order statistics of the subsets' means (typical values: Hartigan 1969). Too few speakers give (-1, 1).
    """
    gained, judged = np.asarray(gains, np.float64), np.asarray(sizes, np.float64)
    speakers = len(gained)
    if speakers <= effort.listed_speakers:
        numbers = np.arange(1, 2**speakers)
        subsets = (numbers[:, None] >> np.arange(speakers)) & 1
    else:
        subsets = np.random.default_rng(seed).integers(0, 2, (effort.subsets, speakers))
        subsets = subsets[subsets.any(axis=1)]
    means = np.sort((subsets @ gained) / (subsets @ judged))
    rank = math.floor(alpha * (len(means) + 1))
    return (-1.0, 1.0) if rank < 1 else (float(means[rank - 1]), float(means[-rank]))


def cluster_bootstrap(
    sums: ArrayLike, sizes: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 1
) -> tuple[float, float]:
    """Percentile interval of ``sum / size`` by drawing whole speakers (Field and Welsh 2007).

    For description only: below some 30 speakers it is too narrow.
    """
    table = np.stack([np.asarray(sums, np.float64), np.asarray(sizes, np.float64)], axis=1)
    picks = np.random.default_rng(seed).integers(0, len(table), (draws, len(table)))
    totals = table[picks].sum(axis=1)
    tail = 50 * (1 - level)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], [tail, 100 - tail])
    return float(low), float(high)


def mcnemar_p(gained: int, lost: int, *, one_sided: bool = True) -> float:
    """Exact McNemar (binomial) p-value that utterances are gained more often than lost.

    It takes every utterance for independent, so it is reported beside the decision and does not make it.
    Source: McNemar 1947; the exact form as in Fagerland, Lydersen and Laake 2013 (BMC Med. Res. Methodol. 13:91).
    """
    n = gained + lost
    if not one_sided:
        return min(1.0, 2 * mcnemar_p(max(gained, lost), min(gained, lost)))
    patterns: int = sum(math.comb(n, k) for k in range(gained, n + 1))
    return patterns / (1 << n)


def tango_p(gained: int, lost: int, n: int, margin: float) -> float:
    """One-sided p-value that paired proportions differ by more than ``-margin``, by the score test.

    It holds its level where hardly any utterance is gained or lost: there a sign flip sees nothing but agreement and
    is far too sure. Source: Tango 1998 (Statistics in Medicine 17:891), closed form as in Fagerland, Lydersen and
    Laake 2014 (Statistics in Medicine 33:2850).
    """
    delta = -margin
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    share_lost = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * share_lost + delta * (1 - delta))
    if variance <= 0:
        return 1.0 if gained - lost <= n * delta else 0.0
    return 1 - _NORMAL.cdf((gained - lost - n * delta) / math.sqrt(variance))


Table = tuple[int, int, int]
"""(gained, lost, utterances) of things that are right or wrong."""


def tango_interval(table: Table, alpha: float = 0.025) -> tuple[float, float]:
    """The differences that :func:`tango_p` does not reject on either side, ``alpha`` on each."""
    gained, lost, n = table

    def lower(up: int, down: int) -> float:
        low, high = -1.0, (up - down) / n
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if tango_p(up, down, n, -middle) <= alpha else (low, middle)
        return low

    return lower(gained, lost), -lower(lost, gained)


def gain_p(gains: ArrayLike, sizes: ArrayLike, null: float = 0.0, table: Table | None = None) -> float:
    """One-sided p-value that the gain per unit is more than ``null``, as the gate takes it: the larger one of two.

    The sign flip guards against speakers who differ, Tango's test against having seen too little; as long as one of
    them holds its level, so does the larger p-value. Without ``table`` (units that are not simply right or wrong,
    words of a sentence for instance) the sign flip stands alone.
    """
    by_speaker = sign_flip_p(gains, sizes, null)
    return by_speaker if table is None else max(by_speaker, tango_p(*table, -null))


def gain_interval(
    gains: ArrayLike, sizes: ArrayLike, alpha: float = 0.025, table: Table | None = None
) -> tuple[float, float]:
    """The gains that :func:`gain_p` does not reject on either side: decision and picture agree."""
    low, high = sign_flip_interval(gains, sizes, alpha)
    if table is None:
        return low, high
    least, most = tango_interval(table, alpha)
    return min(low, least), max(high, most)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: each may be compared with the level of them all (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class PairedAuc:
    """Two rankings of the same utterances."""

    champion: float
    candidate: float
    standard_error: float
    """Of the difference."""
    degrees: int
    """Clusters less one."""

    def p_above(self, difference: float) -> float:
        """One-sided p-value that candidate - champion is more than ``difference`` (t, for clusters may be few)."""
        gain = self.candidate - self.champion - difference
        if self.standard_error <= 0:
            return 0.0 if gain > 0 else 1.0
        return student_t_sf(gain / self.standard_error, self.degrees)


def delong(
    champion: ArrayLike, candidate: ArrayLike, positive: ArrayLike, clusters: Sequence[str] | None = None
) -> PairedAuc:
    """Areas under two ROC curves of the same utterances and the standard error of their difference.

    Source: DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44:837), by midranks as in Sun and Xu 2014; with
    clusters, whose utterances are not independent, Obuchowski 1997 (Biometrics 53:567). Without clusters each
    utterance is its own, and Obuchowski's formula is DeLong's.

    Args:
        champion, candidate: scores ``[n]``; higher is more likely positive.
        positive: booleans ``[n]``, for instance whether the bot has an answer to the utterance.
        clusters: the speaker of each utterance.
    """
    truth = np.asarray(positive, bool)
    m, n = int(truth.sum()), int((~truth).sum())
    if not m or not n:
        raise ValueError("an AUC needs utterances of both kinds")
    scores = np.stack([np.asarray(champion, np.float64), np.asarray(candidate, np.float64)])
    places = [_placements(row[truth], row[~truth]) for row in scores]
    areas = [float(v10.mean()) for v10, _ in places]
    names = list(range(len(truth))) if clusters is None else list(clusters)
    _, member = np.unique(np.asarray(names), return_inverse=True)
    k = int(member.max()) + 1
    # What each cluster adds to the difference, its positives and its negatives apart.
    v10 = places[1][0] - places[0][0] - (areas[1] - areas[0])
    v01 = places[1][1] - places[0][1] - (areas[1] - areas[0])
    ten = np.bincount(member[truth], v10, k)
    one = np.bincount(member[~truth], v01, k)
    with_positives = len(set(member[truth].tolist()))
    with_negatives = len(set(member[~truth].tolist()))
    variance = (
        _over(with_positives) * float(ten @ ten) / m**2
        + _over(with_negatives) * float(one @ one) / n**2
        + 2 * _over(k) * float(ten @ one) / (m * n)
    )
    return PairedAuc(areas[0], areas[1], math.sqrt(max(0.0, variance)), max(1, k - 1))


def _over(clusters: int) -> float:
    return clusters / (clusters - 1) if clusters > 1 else 1.0


def _placements(positives: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above; ties half."""
    m, n = len(positives), len(negatives)
    everything = _midranks(np.concatenate([positives, negatives]))
    v10 = (everything[:m] - _midranks(positives)) / n
    v01 = 1 - (everything[m:] - _midranks(negatives)) / m
    return v10, v01


def _midranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return np.asarray((ends - (count - 1) / 2)[place], np.float64)


def student_t_sf(t: float, degrees: int) -> float:
    """P(T > t) of Student's t, by the angle form of its distribution (T = sqrt(degrees) tan(angle))."""
    angle = math.atan2(t, math.sqrt(degrees))
    grid = np.linspace(0, abs(angle), 2001)
    density = np.cos(grid) ** (degrees - 1)
    constant = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    step = grid[1] - grid[0]
    # Simpson's rule: smooth over the whole angle, so 2,000 steps are more than enough.
    area = step / 3 * (density[0] + density[-1] + 4 * density[1:-1:2].sum() + 2 * density[2:-1:2].sum())
    upper = max(0.0, 0.5 - constant * float(area))
    return upper if t >= 0 else 1 - upper


def design_effect(gains: ArrayLike, gained: int, lost: int) -> float:
    """How much more the speakers' gains scatter than independent utterances would (1 or more)."""
    by_speaker = np.asarray(gains, np.float64)
    return max(1.0, float(by_speaker @ by_speaker) / (gained + lost)) if gained + lost else 1.0


def power_of(gain: float, n: int, discordant: float, alpha: float = 0.025, design: float = 1.0) -> float:
    """Power of a one-sided paired test, by the normal approximation.

    Source: Connor 1987 (Biometrics 43:207) for McNemar's test; clusters shrink ``n`` by the design effect.

    Args:
        gain: true difference of the proportions.
        n: utterances.
        discordant: share of utterances on which the models differ; at least ``gain``.
        design: see :func:`design_effect`.
    """
    usable = n / design
    spread = math.sqrt(max(discordant - gain * gain, 1e-12))
    return _NORMAL.cdf((gain * math.sqrt(usable) - _NORMAL.inv_cdf(1 - alpha) * math.sqrt(discordant)) / spread)


def smallest_gain(n: int, discordant: float, alpha: float = 0.025, power: float = 0.8, design: float = 1.0) -> float:
    """The gain that :func:`power_of` finds with ``power``; what an evaluation of this size can hope to see."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        enough = power_of(middle, n, max(discordant, middle), alpha, design) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high
