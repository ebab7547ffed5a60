"""G.711 companding (ITU-T G.711, 11/1988) by table, on whole arrays.

Both laws code 8 kHz speech in one byte a sample. The decoders are the Recommendation's tables 1a/2a; the
encoders pick what the common reference code (Sun Microsystems' public-domain ``g711.c``) picks, so a round
trip through any other implementation is bit-exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ULAW_BIAS = 0x84
_ULAW_CLIP = 32635


def _ulaw_decode_table() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    exponent = (code >> 4) & 7
    mantissa = (code & 15).astype(np.int32)
    magnitude = (((mantissa << 3) + _ULAW_BIAS) << exponent) - _ULAW_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _ulaw_encode_table() -> NDArray[np.uint8]:
    pcm = np.arange(-32768, 32768, dtype=np.int32)
    # The reference halves the resolution before it takes the magnitude: a negative sample is shifted as an
    # integer (towards minus infinity), so +3 and -3 need not share a segment.
    pcm14 = pcm >> 2
    magnitude = np.minimum(np.where(pcm14 < 0, -pcm14, pcm14), _ULAW_CLIP >> 2) + (_ULAW_BIAS >> 2)
    segment = np.clip(np.floor(np.log2(magnitude)).astype(np.int32) - 5, 0, 7)
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 15)
    return np.asarray(np.where(pcm14 < 0, code ^ 0x7F, code ^ 0xFF), dtype=np.uint8)


def _alaw_decode_table() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent = (code >> 4) & 7
    mantissa = (code & 15) << 4
    low = mantissa + 8
    high = (mantissa + 0x108) << np.maximum(exponent - 1, 0)
    magnitude = np.where(exponent == 0, low, high)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _alaw_encode_table() -> NDArray[np.uint8]:
    pcm13 = np.arange(-32768, 32768, dtype=np.int32) >> 3
    positive = pcm13 >= 0
    magnitude = np.where(positive, pcm13, -pcm13 - 1)
    segment = np.where(magnitude < 32, 0, np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 4)
    shift = np.where(segment < 2, 1, segment)
    code = (segment << 4) | ((magnitude >> shift) & 15)
    return np.asarray(code ^ np.where(positive, 0xD5, 0x55), dtype=np.uint8)


_ULAW_TO_PCM = _ulaw_decode_table()
_PCM_TO_ULAW = _ulaw_encode_table()
_ALAW_TO_PCM = _alaw_decode_table()
_PCM_TO_ALAW = _alaw_encode_table()


def ulaw_encode(pcm: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Code 16-bit samples (any shape) as mu-law bytes of the same shape."""
    return np.asarray(_PCM_TO_ULAW[pcm.astype(np.int32) + 32768])


def ulaw_decode(code: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Decode mu-law bytes (any shape) to 16-bit samples of the same shape."""
    return np.asarray(_ULAW_TO_PCM[code])


def alaw_encode(pcm: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Code 16-bit samples (any shape) as A-law bytes of the same shape."""
    return np.asarray(_PCM_TO_ALAW[pcm.astype(np.int32) + 32768])


def alaw_decode(code: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Decode A-law bytes (any shape) to 16-bit samples of the same shape."""
    return np.asarray(_ALAW_TO_PCM[code])
