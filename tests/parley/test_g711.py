"""G.711 against the Recommendation's own tables and a second implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley import g711

# ITU-T G.711 (11/1988), table 2a: decoder output values of mu-law for the first code of each positive segment,
# in 16-bit scale (the table's 14-bit values times 4).
ULAW_TABLE = {
    0xFF: 0, 0xFE: 8, 0xF0: 120, 0xEF: 132, 0xE0: 372, 0xDF: 396, 0xD0: 876, 0xCF: 924, 0xC0: 1884, 0xBF: 1980,
    0xB0: 3900, 0xAF: 4092, 0xA0: 7932, 0x9F: 8316, 0x90: 15996, 0x8F: 16764, 0x80: 32124,
}  # fmt: skip
# Table 1a, A-law, even bits inverted, 16-bit scale (the table's 13-bit values times 8).
ALAW_TABLE = {
    0xD5: 8,
    0xD4: 24,
    0xC5: 264,
    0xF5: 528,
    0xE5: 1056,
    0x95: 2112,
    0x85: 4224,
    0xB5: 8448,
    0xA5: 16896,
    0xAA: 32256,
}


def test_mulaw_decoder_is_the_published_table() -> None:
    for code, value in ULAW_TABLE.items():
        assert g711.ulaw_decode(np.array([code], np.uint8))[0] == value
        assert g711.ulaw_decode(np.array([code & 0x7F], np.uint8))[0] == -value


def test_alaw_decoder_is_the_published_table() -> None:
    for code, value in ALAW_TABLE.items():
        assert g711.alaw_decode(np.array([code], np.uint8))[0] == value
        assert g711.alaw_decode(np.array([code & 0x7F], np.uint8))[0] == -value


def test_both_laws_agree_with_the_standard_library_on_every_sample() -> None:
    audioop = pytest.importorskip("audioop", reason="the standard library lost audioop in Python 3.13")
    pcm = np.arange(-32768, 32768).astype("<i2")
    codes = np.arange(256, dtype=np.uint8)

    assert g711.ulaw_encode(pcm).tobytes() == audioop.lin2ulaw(pcm.tobytes(), 2)
    assert g711.alaw_encode(pcm).tobytes() == audioop.lin2alaw(pcm.tobytes(), 2)
    assert g711.ulaw_decode(codes).tobytes() == audioop.ulaw2lin(codes.tobytes(), 2)
    assert g711.alaw_decode(codes).tobytes() == audioop.alaw2lin(codes.tobytes(), 2)


@given(st.binary(min_size=1, max_size=400))
def test_decoding_then_encoding_gives_the_code_back(code: bytes) -> None:
    codes = np.frombuffer(code, np.uint8)
    canonical = np.where(codes == 0x7F, 0xFF, codes)  # mu-law has two zeros

    assert np.array_equal(g711.ulaw_encode(g711.ulaw_decode(codes)), canonical)
    assert np.array_equal(g711.alaw_encode(g711.alaw_decode(codes)), codes)


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=200))
def test_a_round_trip_errs_by_at_most_half_a_step(samples: list[int]) -> None:
    pcm = np.array(samples, np.int16)
    heard = g711.ulaw_decode(g711.ulaw_encode(pcm)).astype(int)

    # The widest step of a segment is a 16th of the segment's top; clipping starts at 32635.
    bound = np.maximum(8, (np.abs(pcm.astype(int)) + 132) // 16 + 8)
    assert np.all(np.abs(heard - pcm) <= bound + np.maximum(0, np.abs(pcm.astype(int)) - 32635))
