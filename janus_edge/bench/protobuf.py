"""Just enough of protobuf's wire format to walk through an ONNX file without the onnx package.

Source: protobuf.dev, "Encoding". A message is a row of fields: a varint of (number << 3 | type),
then a varint (type 0), 8 bytes (1), a length and as many bytes (2), or 4 bytes (5).
"""

from __future__ import annotations

from collections.abc import Iterator

Value = int | memoryview


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field in order: an int for type 0, else the bytes.

    Raises ValueError for what is not a message.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field {number} has the unknown wire type {kind}")
        if at + size > end:
            raise ValueError(f"field {number} has {size} bytes and {end - at} are left")
        yield number, message[at : at + size]
        at += size


def varints(packed: Value) -> list[int]:
    """The numbers of a repeated field: one, or as many as are packed."""
    if isinstance(packed, int):
        return [packed]
    numbers, at = [], 0
    while at < len(packed):
        number, at = _varint(packed, at)
        numbers.append(number)
    return numbers


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends."""
    value = shift = 0
    while shift < 64:
        if at >= len(message):
            raise ValueError("ends within a number")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("has a number of more than 64 bits")
