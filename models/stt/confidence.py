"""How sure an STT version is of what it heard, fitted on people and noises that it was not trained on.

The confidence is a logistic function of the decoder's margin: how much worse than any sounds at all the grammar's best
sentence explains the audio. The threshold below which the bot asks again is the highest that refuses at most one in
a hundred of the right transcripts: what it refuses of other speech is then as much as comes for free.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.channel import through_codec
from models.dataset import Dataset, Row, speech_of
from models.noises import NoiseBank
from models.stt.augment import Disturbance, disturb
from models.stt.client import PhoneCtcClient
from parley.audio import Pcm
from parley.errors import ParleyError
from parley.files import write_json
from parley.language import Language
from parley.serving.onnx_engine import OnnxEngine
from parley.text_files import read_json

POINTS = "margins.json"
_LOST_SHARE = 0.01
_THRESHOLDS = (0.1, 0.7)
_CALLS = Disturbance(noisy=1.0, snr_db=(5.0, 30.0))


Points = list[tuple[float, bool]]
"""Margin of a transcript, and whether it was right."""


async def measure(bundle: Path, dataset: Dataset, language: Language, seed: int = 7) -> Points:
    """Decode dev: people and voices in the grammar, and speech outside it, clean and in noise."""
    rows = dataset.split("dev", "recording")
    rows = [r for r in rows if r.text][:80] + dataset.split("dev", "synthetic")[:150]
    async with OnnxEngine.from_bundle(bundle) as engine:
        client = PhoneCtcClient(bundle, engine, "", 1)
        return [await _margin(client, language, row, pcm) for row, pcm in _heard(dataset, rows, seed)]


def write_points(path: Path, points: Points) -> None:
    """Keep what was measured: a run that learned from everybody fits its confidence on that of its folds."""
    write_json(path / POINTS, [[round(margin, 4), right] for margin, right in points])


def read_points(runs: Sequence[Path]) -> Points:
    """What the exports of several runs measured.

    Raises:
        ParleyError: one was not exported, or its points are damaged.
    """
    points: Points = []
    for run in runs:
        if not (run / POINTS).is_file():
            raise ParleyError(f"no {POINTS}", where=str(run), mend=f"parley export stt {run}")
        points += [(float(margin), bool(right)) for margin, right in read_json(run / POINTS, finite=False)]
    return points


def fit(points: Points) -> dict[str, float]:
    """Offset, slope and threshold: right transcripts against wrong ones and speech outside the grammar."""
    margins, right = np.array([m for m, _ in points]), np.array([r for _, r in points], dtype=np.float64)
    offset, slope = fit_logistic(margins, right)
    return {
        "offset": round(offset, 4), "slope": round(slope, 4),
        "threshold": choose_threshold(1 / (1 + np.exp(-np.clip(offset + slope * margins, -30, 30))), right > 0),
        "fitted_on": len(points), "right": int(right.sum()),
    }  # fmt: skip


def _heard(dataset: Dataset, rows: list[Row], seed: int) -> list[tuple[Row, Pcm]]:
    """Recordings over a clean line and in a drawn noisy call, synthetic callers over their own line."""
    rng, talkers = random.Random(f"confidence|{seed}"), [speech_of(dataset.dry(r), r) for r in rows]
    bank = NoiseBank.make(seed, talkers)
    heard = []
    for row, dry in zip(rows, talkers, strict=True):
        recorded = row.source == "recording"
        heard.append((row, through_codec(dry if recorded else speech_of(dataset.heard(row), row), "ulaw")))
        if recorded:
            heard.append((row, disturb(dry, rng, bank, _CALLS)))
    return heard


async def _margin(client: PhoneCtcClient, language: Language, row: Row, pcm: Pcm) -> tuple[float, bool]:
    stream = client.new_stream()
    await stream.accept(pcm)
    transcript = await stream.finish()
    in_grammar = row.source == "recording" or bool(row.intent)
    return transcript.margin, in_grammar and words_agree(transcript.text, row.text or "", language)


def choose_threshold(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The highest threshold that loses at most one in a hundred of the right ones, 0.1 to 0.7."""
    lowest = float(np.quantile(sure[right], _LOST_SHARE)) if right.any() else _THRESHOLDS[0]
    return round(float(np.clip(lowest, *_THRESHOLDS)), 4)


def fit_logistic(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Offset and slope of P(y = 1) over one variable, by penalised Newton steps on the standardised variable.

    Two pseudo-observations, one of each kind (Platt's targets), keep separable data from an infinite slope.
    """
    mean, scale = float(np.mean(x)), float(np.std(x)) or 1.0
    z = (x - mean) / scale
    design = np.stack([np.ones_like(z), z], axis=1)
    target = np.where(y > 0, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    weights = np.zeros(2)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (target - p) - 0.05 * weights
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 0.05 * np.eye(2)
        move = np.linalg.solve(hessian, gradient)
        weights += move * min(1.0, 2.0 / (float(np.max(np.abs(move))) + 1e-12))
    return float(weights[0] - weights[1] * mean / scale), float(weights[1] / scale)


def words_agree(heard: str, said: str, language: Language) -> bool:
    """Equal but for the words that recordings' labels do not settle: English articles."""

    def content(text: str) -> list[str]:
        return [w for w in text.split() if w not in language.callers.unsettled]

    return content(heard) == content(said)
