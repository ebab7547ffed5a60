"""The best tag sequence of a sentence: Viterbi over tag scores, transitions and what BIO allows. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NEVER = -1e4


def allowed(tags: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What BIO allows: an ``I`` follows a ``B`` or ``I`` of its own slot only.

    Returns:
        Scores 0 or very low: of a tag at the start [tags], of a tag (column) after a tag (row) [tags, tags].
    """
    start = np.array([_NEVER if tag.startswith("I-") else 0.0 for tag in tags], np.float32)
    pairs = np.zeros((len(tags), len(tags)), np.float32)
    for column, tag in enumerate(tags):
        if tag.startswith("I-"):
            own = (f"B-{tag[2:]}", tag)
            pairs[:, column] = [0.0 if before in own else _NEVER for before in tags]
    return start, pairs


class TagDecoder:
    """Finds the tags with the highest sum of scores (Viterbi 1967).

    Args:
        start: of a tag at the first word [tags].
        pairs: of a tag (column) after a tag (row) [tags, tags].
    """

    def __init__(self, start: NDArray[Any], pairs: NDArray[Any]) -> None:
        self._start = start
        self._into = np.ascontiguousarray(pairs.T)  # [tag, tag before]: the search runs along memory
        self._tags = np.arange(len(start))

    def best(self, scores: NDArray[Any]) -> list[int]:
        """The best path through ``scores`` [words, tags]; none through no words."""
        if not len(scores):
            return []
        best, back = self._start + scores[0], []
        paths = np.empty_like(self._into)
        for row in scores[1:]:
            np.add(self._into, best, out=paths)
            came = paths.argmax(1)
            back.append(came)
            best = paths[self._tags, came] + row
        path = [int(best.argmax())]
        for came in reversed(back):
            path.append(int(came[path[-1]]))
        return path[::-1]
