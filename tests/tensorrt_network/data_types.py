"""Numbers of TensorRT's types in numpy arrays.

Floating-point types, including FP8 (E4M3) and FP4 (E2M1), are float32 arrays of representable numbers;
INT4 is int8.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tests.tensorrt_network.network import UnknownError

Array = np.ndarray[Any, Any]

#: The types that floating-point numbers are rounded to; float32 itself is not rounded.
FLOATS = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP8": np.dtype(ml_dtypes.float8_e4m3fn),
    "FP4": np.dtype(ml_dtypes.float4_e2m1fn),
}
INTEGERS = {
    "INT64": np.dtype(np.int64),
    "INT32": np.dtype(np.int32),
    "INT8": np.dtype(np.int8),
    "INT4": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}

_HALF_BYTES = ("INT4", "FP4")

#: The range that quantised numbers are clamped to (`IQuantizeLayer`).
RANGES = {"INT8": (-128, 127), "INT4": (-8, 7), "FP8": (-448.0, 448.0), "FP4": (-6.0, 6.0)}


def rounded(values: Array, dtype: str) -> Array:
    """Round ``values`` to the type; integers must have it already."""
    if dtype in FLOATS:
        if values.dtype.kind != "f":
            raise UnknownError(f"{values.dtype} where {dtype} is needed")
        if dtype == "FLOAT":
            return values.astype(np.float32, copy=False)
        with np.errstate(over="ignore"):  # overflow gives infinity, as in TensorRT
            return values.astype(FLOATS[dtype]).astype(np.float32)
    if dtype not in INTEGERS:
        raise UnknownError(f"data type {dtype}")
    if values.dtype != INTEGERS[dtype]:
        raise UnknownError(f"{values.dtype} where {dtype} is needed")
    return values


def from_bytes(stored: bytes, dtype: str, count: int) -> Array:
    """Decode ``count`` numbers as TensorRT stores them; of two 4-bit numbers the first is in the low bits."""
    if dtype in _HALF_BYTES:
        pairs = np.frombuffer(stored, np.uint8)
        both = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(-1)[:count]
        if dtype == "FP4":
            return both.view(FLOATS["FP4"]).astype(np.float32)
        return np.where(both > 7, both.astype(np.int8) - 16, both).astype(np.int8)
    if dtype in FLOATS:
        return np.frombuffer(stored, FLOATS[dtype], count).astype(np.float32)
    if dtype not in INTEGERS:
        raise UnknownError(f"weights of data type {dtype}")
    return np.frombuffer(stored, INTEGERS[dtype], count).copy()


def nbytes(dtype: str, count: int) -> int:
    """Return the bytes of ``count`` stored numbers."""
    if dtype in _HALF_BYTES:
        return (count + 1) // 2
    return count * {**FLOATS, **INTEGERS}[dtype].itemsize
