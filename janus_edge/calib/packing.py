"""Pack two 4-bit numbers to a byte, as ONNX stores them.

In C order, the first of a pair in the low four bits, in two's complement; an odd number of values
leaves the last high bits zero (ONNX, "Int4 and UInt4", onnx.proto TensorProto.int32_data).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import InputError


def pack_int4(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The bytes [ceil(n / 2)] of n ``values`` in [-8, 7], of any shape.

    Raises InputError for values outside.
    """
    if values.dtype != np.int8 or (values.size and (values.min() < -8 or values.max() > 7)):
        raise InputError(f"int4 holds int8 values from -8 to 7, found {values.dtype} beyond them")
    return _pack(values.view(np.uint8))


def pack_e2m1(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the bytes [ceil(n / 2)] of n ``values`` of any shape, in ml_dtypes' float4_e2m1fn."""
    return _pack(np.ascontiguousarray(values).view(np.uint8))


def _pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    nibbles = np.zeros(codes.size + codes.size % 2, np.uint8)
    nibbles[: codes.size] = codes.reshape(-1) & 0xF
    packed: NDArray[np.uint8] = nibbles[0::2] | nibbles[1::2] << np.uint8(4)
    return packed


def unpack_int4(packed: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.int8]:
    """The int8 values of ``shape`` that ``packed`` holds.

    Raises InputError if that takes more or fewer bytes.
    """
    size = math.prod(shape)
    if packed.dtype != np.uint8 or packed.shape != ((size + 1) // 2,):
        raise InputError(
            f"int4 {list(shape)} takes {(size + 1) // 2} bytes, "
            f"found {packed.dtype} {list(packed.shape)}"
        )
    nibbles = np.stack([packed & 0xF, packed >> 4], 1).reshape(-1)[:size]
    # bit 3 is the sign
    return ((nibbles ^ np.uint8(8)).astype(np.int8) - np.int8(8)).reshape(shape)
