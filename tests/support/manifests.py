"""Recordings for tests: single ones as values, and manifests with an audio file for every line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from parley.audio import TELEPHONE_RATE
from parley.recordings import Recording


def recording(speaker: str = "ann", intent: str | None = "", audio: str = "a.wav", **known: Any) -> Recording:
    """A recording whose file nobody opens."""
    return Recording(audio, Path(audio), speaker=speaker, intent=intent, **known)


def row(audio: str, **said: Any) -> dict[str, Any]:
    """A manifest's line."""
    return {"audio": audio, "speaker": "ann", "text": "help", "intent": "help", "slots": {}, **said}


def write_manifest(path: Path, rows: Iterable[Mapping[str, Any]], rate: int = TELEPHONE_RATE) -> Path:
    """A manifest of ``rows``; files that are not there are made: half a second of a noise of their name's own."""
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    for one in rows:
        file = path.parent / str(one["audio"])
        if not file.exists():
            rng = np.random.default_rng(int(sha256(str(one["audio"]).encode()).hexdigest()[:8], 16))
            soundfile.write(file, rng.integers(-9000, 9000, rate // 2, dtype=np.int16), rate, subtype="PCM_16")
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path
