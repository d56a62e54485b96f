"""The weights of a layer.

The bindings return arrays for the types that numpy has. For the other types (BF16, INT4, FP8) they
return a `Weights` object, which does not say where its numbers are, so its C++ struct is read instead.
The object begins with Python's header and a pointer to `{int32 type; void* values; int64 count}`.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np

from tests.tensorrt_network.data_types import Array, from_bytes, nbytes
from tests.tensorrt_network.network import UnknownError


class _Struct(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int32),
        ("values", ctypes.c_void_p),
        ("count", ctypes.c_int64),
    )


def read_weights(weights: Any) -> Array | None:
    """Return a flat copy of the numbers; None for a layer that takes them as an input."""
    if not weights.size:
        return None
    if isinstance(weights, np.ndarray):
        values = weights.reshape(-1).copy()
        return values.astype(np.float32) if values.dtype.kind == "f" else values
    return from_bytes(stored_weights(weights), weights.dtype.name, weights.size)


def stored_weights(weights: Any) -> bytes:
    """Return the bytes of the numbers."""
    if isinstance(weights, np.ndarray):
        return weights.tobytes()
    pointer = ctypes.c_void_p.from_address(id(weights) + object.__basicsize__).value
    struct = _Struct.from_address(pointer or 0)
    if (struct.type, struct.count) != (int(weights.dtype), weights.size):
        raise UnknownError(
            f"the bindings' Weights object has another layout on Python {sys.version.split()[0]}"
        )
    # the object's own nbytes underflows for INT4
    return ctypes.string_at(struct.values, nbytes(weights.dtype.name, struct.count))
