"""Take the weights out of an ONNX file before anybody parses it: they are nearly all of its bytes and say nothing.

    rest, taken = without_weights(memoryview(content))

A parser copies what it reads, several times: looking at a model of 1 GB would take 3 GB, and most of the time that
publishing takes. So the message is walked along one path, model to graph to initialiser to `raw_data`, by protobuf's
wire format (https://protobuf.dev/programming-guides/encoding). Everything else reaches the parser as it was.
"""

from __future__ import annotations

from collections.abc import Iterator

_PATH = (7, 5, 9)
"""Numbers of the fields ModelProto.graph, GraphProto.initializer and TensorProto.raw_data (onnx.proto3)."""
_MANY = 1
"""The place in the path of the field that is repeated. Of the others a second one would be merged with the first."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SMALL = 1024
"""Bytes of weights that the parser may as well see."""


def without_weights(model: memoryview) -> tuple[bytes, list[int]]:
    """A serialised ModelProto without the large weights of its graph's initialisers.

    Args:
        model: the file's content.

    Returns:
        What is left of it, and how many bytes were taken out of each initialiser in turn (0: it is as it was).

    Raises:
        ValueError: this is not the wire format, or a field of the path is there twice.
    """
    taken: list[int] = []
    return _shorten(model, 0, taken), taken


def _shorten(message: memoryview, depth: int, taken: list[int]) -> bytes:
    parts: list[bytes] = []
    met = 0
    for number, kind, whole, value in _fields(message):
        if number != _PATH[depth] or kind != _BYTES:  # of another type it is a field that parsers skip
            parts.append(bytes(whole))
            continue
        met += 1
        if met > 1 and depth != _MANY:
            raise ValueError("its graph, or a tensor's data, is there twice")
        if depth == _MANY:
            taken.append(0)
        if depth + 1 < len(_PATH):
            inner = _shorten(value, depth + 1, taken)
            parts += [_tag(number), _encoded(len(inner)), inner]
        elif len(value) > _SMALL:
            taken[-1] = len(value)
        else:
            parts.append(bytes(whole))
    return b"".join(parts)


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview, memoryview]]:
    """Number, wire type, all and value of each field."""
    at = 0
    while at < len(message):
        tag, begin = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            end = _varint(message, begin)[1]
        elif kind == _BYTES:
            length, begin = _varint(message, begin)
            end = begin + length
        elif kind in (_FIXED64, _FIXED32):
            end = begin + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError(f"a field of wire type {kind}")
        if end > len(message) or not 0 < number < 1 << 29:
            raise ValueError("a field breaks off" if number else "a field without a number")
        yield number, kind, message[at:end], message[begin:end]
        at = end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, low ones first, and where it ends."""
    value = 0
    for place in range(10):
        if at >= len(message):
            raise ValueError("a number breaks off")
        value |= (message[at] & 0x7F) << 7 * place
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _tag(number: int) -> bytes:
    return _encoded(number << 3 | _BYTES)


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
