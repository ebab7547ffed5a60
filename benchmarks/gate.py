"""``python -m benchmarks.gate --json OUT [--png]``: does the gate accept what is no better, and does it see what is?

Paired data are drawn as a voice bot gives them: speakers who are hard or easy for both models, speakers whom one model
happens to like, utterances that are hard for both, unequal numbers of recordings. The rates of the gate's own test
stand beside those of the tests one meets elsewhere, on the same draws: McNemar's over utterances, the bootstrap over
speakers, a t-test over speakers, and the common t-test on bootstrap means, which takes its own resampling for data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.files import write_json
from parley.progress import ProgressHandle, progress
from registry.gating.comparison import Pair
from registry.gating.gate import Evidence, decide
from registry.gating.gate_rules import GateRules, SliceRule
from registry.gating.statistics import gain_p, mcnemar_p, sign_flip_p, student_t_sf, tango_p

_NORMAL = NormalDist()
RULES = GateRules()
"""The rules' own defaults: alpha 2.5 % one-sided, a minimum effect of half a point."""
SPEAKERS = (6, 8, 12, 20, 40, 60)
EACH = 20
"""Recordings of a speaker, on average, where numbers of speakers are compared."""
POWER_SIZES = ((12, 20), (24, 25), (40, 50), (60, 100))
"""Speakers and recordings of each."""
GAINS = (0.01, 0.02, 0.04)
RESAMPLES = (10, 30, 100)
"""Bootstrap means on each side of the common t-test; more of them make it surer, of nothing."""
_BLOCK = 4_000_000

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """What the drawn people and models are like, on the probit scale (an utterance's own difficulty has variance 1)."""

    accuracy: float = 0.9
    """Of the champion, over all speakers."""
    gain: float = 0.0
    """Candidate less champion, over all speakers."""
    speaker_sd: float = 0.6
    """How speakers differ for both models: 80 % of them lie between 78 and 98 % accuracy."""
    liking_sd: float = 0.25
    """How speakers differ for one model alone."""
    shared: float = 0.7
    """Share of an utterance's difficulty that both models meet."""
    unlucky: float = 0.0
    """Share of speakers the candidate hears much worse, made up for on all the others ..."""
    unlucky_drop: float = 1.0
    """... by so much."""

    def offsets(self) -> tuple[float, float]:
        """The models' levels that give these accuracies on average."""
        scale = math.sqrt(1 + self.speaker_sd**2 + self.liking_sd**2)
        champion = scale * _NORMAL.inv_cdf(self.accuracy)
        low, high = champion - 5, champion + 5
        for _ in range(60):
            middle = (low + high) / 2
            mean = self.unlucky * _NORMAL.cdf((middle - self.unlucky_drop) / scale)
            mean += (1 - self.unlucky) * _NORMAL.cdf(middle / scale)
            low, high = (middle, high) if mean < self.accuracy + self.gain else (low, middle)
        return champion, high


@dataclass(frozen=True)
class Drawn:
    """Trials of one size: rows are trials."""

    sizes: Ints  # [speakers]
    champion: NDArray[np.bool_]  # [trials, utterances], speaker after speaker
    candidate: NDArray[np.bool_]

    def by_speaker(self) -> Ints:
        """Gains ``[trials, speakers]``."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        difference = self.candidate.astype(np.int64) - self.champion
        return np.asarray(np.add.reduceat(difference, starts, axis=1), np.int64)

    def tables(self) -> list[tuple[int, int]]:
        """(gained, lost) of each trial."""
        gained = (self.candidate & ~self.champion).sum(axis=1)
        return list(zip(gained.tolist(), (self.champion & ~self.candidate).sum(axis=1).tolist(), strict=True))


def unequal_sizes(speakers: int, mean: int) -> Ints:
    """From 0.4 to 1.6 times the mean number of recordings."""
    return np.maximum(1, np.round(np.linspace(0.4, 1.6, speakers) * mean)).astype(np.int64)


def draw(rng: np.random.Generator, world: World, speakers: int, mean: int, trials: int) -> Iterator[Drawn]:
    """Draw trials, in blocks that fit into memory."""
    sizes = unequal_sizes(speakers, mean)
    n = int(sizes.sum())
    levels = world.offsets()
    while trials > 0:
        block = min(trials, max(1, _BLOCK // n))
        trials -= block
        people = world.speaker_sd * rng.standard_normal((block, speakers), np.float32)
        shared = math.sqrt(world.shared) * rng.standard_normal((block, n), np.float32)
        right = []
        for model, level in enumerate(levels):
            liked = people + world.liking_sd * rng.standard_normal((block, speakers), np.float32)
            if model == 1 and world.unlucky:
                liked = liked - world.unlucky_drop * (rng.random((block, speakers)) < world.unlucky)
            alone = math.sqrt(1 - world.shared) * rng.standard_normal((block, n), np.float32)
            right.append(level + np.repeat(liked, sizes, axis=1) + shared + alone > 0)
        yield Drawn(sizes, right[0], right[1])


def rate(hits: float, trials: int) -> dict[str, Any]:
    """A share of trials with its 95 % interval (Wilson 1927)."""
    z = _NORMAL.inv_cdf(0.975)
    share = hits / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return {
        "rate": round(share, 5), "interval": [round(max(0.0, centre - half), 5), round(min(1.0, centre + half), 5)],
        "trials": trials,
    }  # fmt: skip


def accepts(drawn: Drawn, gains: Ints) -> int:
    """How often the gate would say "better": its test at its level, and the minimum effect."""
    n = int(drawn.sizes.sum())
    return sum(
        row.sum() >= max(1, RULES.min_effect * n) and gain_p(row, drawn.sizes, 0.0, (up, down, n)) <= RULES.alpha
        for row, (up, down) in zip(gains, drawn.tables(), strict=True)
    )


def others(rng: np.random.Generator, drawn: Drawn, gains: Ints) -> dict[str, int]:
    """How often each of the other tests would have said "better"."""
    alpha, sizes = RULES.alpha, drawn.sizes
    weights = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), 1000)  # [draws, speakers]
    means = (gains @ weights.T) / (weights @ sizes)
    share = gains / sizes
    spread = share.std(axis=1, ddof=1)
    t = np.divide(share.mean(axis=1) * math.sqrt(len(sizes)), spread, out=np.zeros(len(share)), where=spread > 0)
    return {
        "mcnemar": sum(mcnemar_p(gained, lost) <= alpha for gained, lost in drawn.tables()),
        "cluster_bootstrap": int((np.quantile(means, alpha, axis=1) > 0).sum()),
        "speaker_t_test": sum(student_t_sf(float(v), len(sizes) - 1) <= alpha for v in t),
        **{f"bootstrap_means_t_test_{b}": _common_gate(rng, drawn, b) for b in RESAMPLES},
    }


def _common_gate(rng: np.random.Generator, drawn: Drawn, resamples: int) -> int:
    """Resample each model's utterances, take the means for observations, and t-test them.

    The mean of a resample of right and wrong is binomial, so it is drawn as such.
    """
    n = drawn.champion.shape[1]
    means = [rng.binomial(n, side.mean(axis=1)[:, None], (len(side), resamples)) / n
             for side in (drawn.champion, drawn.candidate)]  # fmt: skip
    error = np.sqrt((means[0].var(axis=1, ddof=1) + means[1].var(axis=1, ddof=1)) / resamples)
    t = np.divide(means[1].mean(axis=1) - means[0].mean(axis=1), error, out=np.zeros(len(error)), where=error > 0)
    return sum(student_t_sf(float(v), 2 * resamples - 2) <= RULES.alpha for v in t)


def accept_rates(world: World, trials: int, seed: int, bar: ProgressHandle) -> dict[str, Any]:
    """Accept rates over numbers of speakers, of the gate and of the other tests."""
    rows: list[dict[str, Any]] = []
    for speakers in SPEAKERS:
        rng = np.random.default_rng([seed, speakers])
        hits: dict[str, int] = {}
        for drawn in draw(rng, world, speakers, EACH, trials):
            gains = drawn.by_speaker()
            found = {"gate": accepts(drawn, gains), **others(rng, drawn, gains)}
            hits = {name: hits.get(name, 0) + n for name, n in found.items()}
        rows.append({"speakers": speakers, "utterances": int(unequal_sizes(speakers, EACH).sum()),
                     **{name: rate(n, trials) for name, n in hits.items()}})  # fmt: skip
        bar.advance()
    every = rate(sum(r["gate"]["rate"] * trials for r in rows), trials * len(rows))
    return {"accept_rate": every["rate"], "interval": every["interval"], "trials": every["trials"],
            "highest": max(r["gate"]["rate"] for r in rows), "by_speakers": rows, "world": asdict(world)}  # fmt: skip


def whole_gate(world: World, trials: int, seed: int, bar: ProgressHandle) -> dict[str, Any]:
    """The whole decision, slices and all, as `parley gate` takes it: 24 speakers, 20 recordings each."""
    rules = RULES.model_copy(update={"slices": [SliceRule(field="group"), SliceRule(field="condition")]})
    accepted = 0
    rng = np.random.default_rng([seed, 24])
    for drawn in draw(rng, world, 24, 20, trials):
        for champion, candidate in zip(drawn.champion, drawn.candidate, strict=True):
            accepted += decide(_evidence(drawn.sizes, champion, candidate), rules).accepted
        bar.advance()
    return rate(accepted, trials)


def _evidence(sizes: Ints, champion: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> Evidence:
    speaker = np.repeat(np.arange(len(sizes)), sizes)
    pairs = [
        Pair(
            str(i), str(s), int(a), int(b),
            slices={"group": "ab"[s % 2], "condition": ("clean", "noise")[i % 2]},
        )
        for i, (s, a, b) in enumerate(zip(speaker.tolist(), champion.tolist(), candidate.tolist(), strict=True))
    ]  # fmt: skip
    return Evidence("simulated", 2, 1, {"stt": ("stt 1", "stt 2")}, pairs)


def not_worse_rates(trials: int, seed: int, bar: ProgressHandle, margin: float = 0.05) -> list[dict[str, Any]]:
    """How often a candidate that is worse by exactly the margin is called not worse, by each half of the test."""
    rows = []
    for speakers, mean in ((6, 7), (6, 20), (12, 12), (20, 25)):
        hits = np.zeros(3, int)
        rng = np.random.default_rng([seed, speakers, mean])
        for drawn in draw(rng, World(gain=-margin), speakers, mean, trials):
            for gains, (up, down) in zip(drawn.by_speaker(), drawn.tables(), strict=True):
                flip = sign_flip_p(gains, drawn.sizes, -margin)
                score = tango_p(up, down, int(drawn.sizes.sum()), margin)
                hits += np.array([flip, score, max(flip, score)]) <= RULES.alpha
        names = ("sign_flip_alone", "tango_alone", "gate")
        rows.append({"speakers": speakers, "utterances": int(unequal_sizes(speakers, mean).sum()), "margin": margin,
                     **{name: rate(int(n), trials) for name, n in zip(names, hits, strict=True)}})  # fmt: skip
        bar.advance()
    return rows


def power(world: World, trials: int, seed: int, bar: ProgressHandle) -> dict[str, list[dict[str, Any]]]:
    """How often a better candidate is called better, for each gain and size."""
    table: dict[str, list[dict[str, Any]]] = {}
    for gain in GAINS:
        for speakers, mean in POWER_SIZES:
            rng = np.random.default_rng([seed, speakers, round(gain * 1000)])
            hits = differ = 0.0
            for drawn in draw(rng, replace(world, gain=gain), speakers, mean, trials):
                hits += accepts(drawn, drawn.by_speaker())
                differ += float((drawn.candidate != drawn.champion).mean(axis=1).sum())
            row = {"speakers": speakers, "utterances": int(unequal_sizes(speakers, mean).sum()),
                   "discordant": round(differ / trials, 4), **rate(hits, trials)}  # fmt: skip
            table.setdefault(f"+{gain * 100:g}", []).append(row)
            bar.advance()
    return table


def simulate(trials: int = 4000, seed: int = 7) -> dict[str, Any]:
    """Everything, with a progress bar."""
    equal, uneven = World(), World(unlucky=0.15)
    steps = 2 * len(SPEAKERS) + 4 + 2 * len(GAINS) * len(POWER_SIZES) + 2
    with progress("simulation", steps) as bar:
        return {
            "equal_models": {"nominal": RULES.alpha, **accept_rates(equal, trials, seed, bar)},
            "equal_on_average_only": {"nominal": RULES.alpha, **accept_rates(uneven, trials, seed + 1, bar)},
            "whole_gate": {
                "equal": whole_gate(equal, trials // 8, seed + 2, bar),
                "four_points_better": whole_gate(replace(equal, gain=0.04), trials // 8, seed + 3, bar),
            },
            "not_worse_at_the_margin": not_worse_rates(trials, seed + 4, bar),
            "power": power(equal, trials // 4, seed + 5, bar),
            # A retrain of the same recipe: hardly anybody is heard better by one of the two alone.
            "power_of_close_relatives": power(replace(equal, liking_sd=0.08), trials // 4, seed + 6, bar),
            "min_effect": RULES.min_effect, "seed": seed,
        }  # fmt: skip


def plot(report: dict[str, Any], path: Path) -> None:
    """False accepts over the number of speakers, and power over the number of utterances."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    rows = report["equal_models"]["by_speakers"]
    names = {
        "gate": "the gate", "cluster_bootstrap": "bootstrap over speakers", "mcnemar": "McNemar over utterances",
        "bootstrap_means_t_test_10": "t-test on 10 bootstrap means", "bootstrap_means_t_test_100": "… on 100",
    }  # fmt: skip
    for name, label in names.items():
        style = {"linewidth": 2.5, "color": "black"} if name == "gate" else {"linewidth": 1.2}
        left.plot([r["speakers"] for r in rows], [r[name]["rate"] for r in rows], marker="o", label=label, **style)
    left.axhline(RULES.alpha, linestyle=":", color="grey", label=f"nominal {RULES.alpha:.1%}")
    left.set(xlabel="speakers", ylabel="accepted", ylim=(0, None), title="two equal models")
    for gain, table in report["power"].items():
        right.plot([r["utterances"] for r in table], [r["rate"] for r in table], marker="o", label=f"{gain} points")
    right.set(xlabel="utterances", ylabel="accepted", ylim=(0, 1), title="candidates that are better")
    for axis in (left, right):
        axis.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Simulate, print the main figures, write the report; status 1 when the gate accepts more than its level."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--png", type=Path, nargs="?", const=Path("gate.png"), help="draw them (default gate.png)")
    parser.add_argument("--trials", type=int, default=4000, help="drawn comparisons for each size (default 4000)")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args(argv)
    report = simulate(args.trials, args.seed)
    equal = report["equal_models"]
    print(f"equal_models.accept_rate {equal['accept_rate']:.4f} {equal['interval']} (nominal {RULES.alpha})")
    for row in equal["by_speakers"]:
        rates = "  ".join(f"{k} {v['rate']:.3f}" for k, v in row.items() if isinstance(v, dict))
        print(f"  {row['speakers']:3} speakers  {rates}")
    for gain, table in report["power"].items():
        rates = ", ".join(f"{r['rate']:.2f} ({r['utterances']} of {r['speakers']})" for r in table)
        print(f"power {gain} points: {rates}")
    if args.json:
        write_json(args.json, report)
    if args.png:
        plot(report, args.png)
    # More than the level by no more than the simulation's own uncertainty is the level.
    return 0 if equal["interval"][0] <= RULES.alpha else 1


if __name__ == "__main__":
    exit_with(main)
