"""NVFP4: 4-bit weights (E2M1) in blocks of 16, with 8-bit scales (E4M3).

    dq = value * (block scale * unit), value in {0, 0.5, 1, 1.5, 2, 3, 4, 6} and negatives

The format is that of NVIDIA's Blackwell: Alvarez et al., "Introducing NVFP4 for efficient and accurate
low-precision inference", NVIDIA, 2025. There the unit is max |w| / (6 * 448). Here it is the next
power of two, which every float type holds exactly. E4M3 rounds by relative error, so this costs only
one of its 15 binades.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.calib.integers import as_float32
from janus_edge.calib.number_formats import E2M1, E4M3, FP8
from janus_edge.calib.quantized_weight import QuantizedWeight
from janus_edge.errors import InputError

#: Rows that share a scale.
BLOCK = 16

#: The largest E2M1.
_LARGEST = 6.0

#: Range of units that float16 can hold; smaller units are raised to its start.
_UNITS = (-24, 15)


def quantize_nvfp4(weight: NDArray[Any], importance: NDArray[Any] | None = None) -> QuantizedWeight:
    """Round ``weight`` [K, N] to NVFP4; the last block is shorter if 16 does not divide K.

    The scale of a block is max |w| / 6 or max |w| / 4, rounded to E4M3, whichever has the smaller
    squared error. The largest weight becomes 6 or 4; E2M1 has nothing between them. ``importance`` [K]
    weights the squared error of a row, as in ``quantize_blocks``. Raises InputError unless the weight
    is [K, N], finite and not empty.
    """
    floats = as_float32(weight)
    if floats.ndim != 2 or not floats.size:
        raise InputError(f"blocks need a weight [K, N], found {list(floats.shape)}")
    rows, columns = floats.shape
    blocks = -(-rows // BLOCK)
    padded = np.zeros((blocks * BLOCK, columns), np.float32)
    padded[:rows] = floats
    padded = padded.reshape(blocks, BLOCK, columns)
    weights = np.zeros(blocks * BLOCK, np.float32)
    weights[:rows] = 1 if importance is None else as_float32(importance)
    weights = weights.reshape(blocks, BLOCK, 1)
    peaks = np.abs(padded).max(1)
    unit = _unit(float(peaks.max()))
    best_error = np.full(peaks.shape, np.inf, np.float32)
    scales, values = np.empty_like(peaks), np.empty(padded.shape, E2M1)
    for end in (_LARGEST, 4.0):
        scale = _stored(peaks / end, unit)
        rounded = np.clip(padded / scale[:, None], -_LARGEST, _LARGEST).astype(E2M1)
        error = rounded.astype(np.float32) * scale[:, None] - padded
        squares = np.asarray((error * error * weights).sum(1))
        better = squares < best_error
        best_error[better], scales[better] = squares[better], scale[better]
        np.copyto(values, rounded, where=better[:, None])
    return QuantizedWeight(
        values.reshape(-1, columns)[:rows], scales, None, 4, 0, BLOCK, scale_unit=unit
    )


def stored_scales(weight: QuantizedWeight) -> NDArray[Any]:
    """The scales as exact E4M3 multiples of their unit."""
    assert weight.scale_unit
    return (weight.scales / np.float32(weight.scale_unit)).astype(E4M3)


def _unit(peak: float) -> float:
    """The power of two that keeps the largest scale within E4M3, even if its block ends at 4."""
    largest = peak / 4 / FP8.largest
    exponent = int(np.ceil(np.log2(largest))) if largest else 0
    return float(2.0 ** min(max(exponent, _UNITS[0]), _UNITS[1]))


def _stored(scales: NDArray[np.float32], unit: float) -> NDArray[np.float32]:
    """``scales`` as E4M3 multiples of ``unit``; never 0, and 1 for a block of zeros."""
    least = FP8.levels[1]
    multiples = FP8.rounded(np.maximum(scales / np.float32(unit), least)).astype(np.float32)
    return np.asarray(np.where(scales > 0, multiples, 1) * np.float32(unit), np.float32)
