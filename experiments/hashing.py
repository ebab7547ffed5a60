"""The two hash algorithms of experiments: ours over SHA-256, and GrowthBook's v2 for sites that come from there.

Ours takes the first 64 bits of SHA-256 over length-prefixed fields, so that no two lists of fields share an encoding,
and two roles of one experiment (``alloc``: in or out, ``arm``: which arm) are independent draws.

GrowthBook's (`sdk-js/src/util.ts`, vectors in ``tests/vectors/growthbook_v2.json``) is FNV-1a over UTF-16 code units,
one draw for both questions: each arm owns the range that starts at its cumulative weight and grows with coverage.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from parley.errors import ParleyError

SPACE = 1 << 64
"""Draws are integers in ``[0, SPACE)``."""

_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193
_PREFIX_BYTES = 4


def encode_field(text: str) -> bytes:
    """One field: its length in bytes as four big-endian bytes, then its NFC form in UTF-8.

    Raises:
        ParleyError: the text holds half of a surrogate pair, which has no UTF-8 form.
    """
    try:
        data = text.encode() if text.isascii() else unicodedata.normalize("NFC", text).encode()
    except UnicodeEncodeError:
        raise ParleyError("the id is not valid Unicode", mend="give ids as UTF-8 text") from None
    return len(data).to_bytes(_PREFIX_BYTES, "big") + data


def encode_fields(*fields: str) -> bytes:
    """Fields one after the other; different (normalised) lists of fields never give the same bytes."""
    return b"".join(encode_field(field) for field in fields)


@lru_cache(maxsize=1024)
def _salted(salt: str, role: str) -> hashlib._Hash:
    return hashlib.sha256(encode_fields(salt, role))


def draw64(salt: str, role: str, unit: str) -> int:
    """First 64 bits of SHA-256 over ``[salt, role, unit]``, as a big-endian integer in ``[0, SPACE)``."""
    state = _salted(salt, role).copy()
    state.update(encode_field(unit))
    return int.from_bytes(state.digest()[:8], "big")


@lru_cache(maxsize=1024)
def share64(share: float) -> int:
    """How many of the ``SPACE`` draws belong to a share in [0, 1].

    The decimal a person typed is used (0.1 is one tenth), and a larger share never has fewer draws.
    """
    return int(Fraction(repr(float(share))) * SPACE)


@lru_cache(maxsize=1024)
def cumulative64(weights: tuple[float, ...]) -> tuple[int, ...]:
    """Upper ends of the arms' ranges of draws; the last is ``SPACE``, so every draw has an arm."""
    ends, total = [], Fraction(0)
    for weight in weights:
        total += Fraction(repr(float(weight)))
        ends.append(int(total * SPACE))
    return (*ends[:-1], SPACE)


def _fnv1a32(text: str) -> int:
    """FNV-1a, 32 bits, over UTF-16 code units: the reference implementation is JavaScript, whose characters these
    are."""
    value = _FNV_OFFSET
    data = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(data[::2], data[1::2], strict=True):
        value = ((value ^ (low | high << 8)) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def gb_hash(seed: str, value: str, version: int) -> float | None:
    """GrowthBook's draw in [0, 1); None for a hash version it does not know.

    Version 1 is biased when experiments run side by side; it is here for the published vectors only.
    """
    if version == 2:
        return _fnv1a32(str(_fnv1a32(seed + value))) % 10000 / 10000
    if version == 1:
        return _fnv1a32(value + seed) % 1000 / 1000
    return None


def gb_bucket_ranges(
    arms: int, coverage: float = 1.0, weights: Sequence[float] | None = None
) -> list[tuple[float, float]]:
    """GrowthBook's range ``[start, end)`` of each arm.

    As published: coverage is clamped to [0, 1], and weights of the wrong length or sum silently become equal. Parley
    refuses such weights before they come here (``experiments.assignment.start``).
    """
    coverage = min(1.0, max(0.0, coverage))
    if weights is None or len(weights) != arms or not 0.99 <= sum(weights) <= 1.01:
        weights = [1 / arms] * arms
    ranges, start = [], 0.0
    for weight in weights:
        ranges.append((start, start + coverage * weight))
        start += weight
    return ranges


def gb_choose(draw: float, ranges: Sequence[tuple[float, float]]) -> int | None:
    """Index of the range that holds ``draw``, or None."""
    return next((i for i, (start, end) in enumerate(ranges) if start <= draw < end), None)
