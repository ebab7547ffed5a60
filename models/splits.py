"""Who is trained on, who is measured on: by a hash of the speaker's name, so that nobody's split depends on others.

A speaker stays where he is when others come or go, and no speaker is in two splits.
"""

from __future__ import annotations

from hashlib import sha256

SPLITS = ("train", "dev", "test")
FOLDS = 5


def share_of(name: str, seed: int) -> float:
    """A place in [0, 1) that a name has for good: the first 64 bits of SHA-256."""
    return int.from_bytes(sha256(f"{seed}|{name}".encode()).digest()[:8], "big") / 2**64


def split_of(speaker: str, seed: int, dev: float = 0.1, test: float = 0.16) -> str:
    """A speaker's split."""
    share = share_of(speaker, seed)
    return "test" if share < test else "dev" if share < test + dev else "train"


def fold_of(speaker: str, seed: int, folds: int = FOLDS) -> int:
    """A speaker's fold in cross-validation, by the same hash as :func:`split_of`: 0 to ``folds - 1``."""
    return int(share_of(speaker, seed) * folds)


def fold_split(speaker: str, seed: int, fold: int, folds: int = FOLDS) -> str:
    """The split of a speaker when ``fold`` is the test: half a fold's worth of the following speakers is dev."""
    after = (share_of(speaker, seed) - fold / folds) % 1.0
    return "test" if after < 1 / folds else "dev" if after < 1.5 / folds else "train"
