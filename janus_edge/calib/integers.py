"""Weights as 8-bit numbers and 4-bit integers with scales, as ONNX's DequantizeLinear reads them.

A linear weight is [K, N] = [in, out], a convolution's [O, I, kh, kw]. Per channel: int8 in
[-127, 127] or fp8, with a scale for each index of one axis. Blocked: integers of 4 or 8 bits with a
scale for each ``block`` rows of a column. If K is not a multiple of ``block``, the last block is
shorter, and there are ceil(K / block) rows of scales (ONNX, DequantizeLinear: block_size B fits S
scales on an axis of length D if ceil(D / S) <= B <= ceil(D / (S - 1)) - 1). TensorRT requires a multiple.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.calib.block_scales import BlockFormat
from janus_edge.calib.number_formats import INT8, NumberFormat
from janus_edge.calib.quantized_weight import QuantizedWeight
from janus_edge.errors import InputError

#: Rows that share a scale: what ONNX Runtime's MatMulNBits and TensorRT both read.
BLOCKS = (32, 64, 128)

#: Columns worked on at once: a block of them and what is computed from it stay in the cache.
_COLUMNS = 2048


def quantize_per_channel(
    weight: NDArray[Any], axis: int, numbers: NumberFormat = INT8
) -> QuantizedWeight:
    """Symmetric: scale = max |w| / largest over all axes but ``axis``, q = round(w / scale).

    ``weight`` is any float type and shape; ``axis`` is that of the outputs (1 of a linear weight
    [K, N], 0 of a convolution's). A channel of zeros has scale 1. Raises InputError for a weight
    that is not finite and not floats, and for an axis that it does not have.
    """
    if not 0 <= axis < weight.ndim:
        raise InputError(f"a weight {list(weight.shape)} has no axis {axis}")
    channels = np.moveaxis(as_float32(weight), axis, 0)
    values = np.empty(channels.shape, numbers.dtype)
    scales = np.empty(len(channels), np.float32)
    # channels of a linear weight lie across the memory: some at once, to use what is fetched
    step = max(1, (1 << 20) * len(channels) // max(channels.size, 1))
    for start in range(0, len(channels), step):
        part = channels[start : start + step].reshape(len(channels[start : start + step]), -1)
        scale = np.abs(part).max(1, initial=0) / np.float32(numbers.largest)
        scale[scale < np.finfo(np.float32).tiny] = 1
        q = numbers.rounded(part / scale[:, None])
        values[start : start + step] = q.reshape(-1, *channels.shape[1:])
        scales[start : start + step] = scale
    return QuantizedWeight(
        np.ascontiguousarray(np.moveaxis(values, 0, axis)), scales, None, 8, axis, None
    )


def quantize_blocks(
    weight: NDArray[Any],
    bits: int = 4,
    block: int = 32,
    *,
    symmetric: bool = True,
    search: bool = True,
    importance: NDArray[Any] | None = None,
) -> QuantizedWeight:
    """Round ``weight`` [K, N] to the nearest of ``bits`` bits, a scale per ``block`` rows.

    ``block_scales.py`` tells how scales and zero points are chosen. ``importance`` [K] weighs the
    squared error of a row in the search: the mean square of the input's channel makes it
    the expected error of the output, were the channels independent. Raises InputError for
    arguments of other shapes, values that are not finite, or a negative importance.
    """
    layout = BlockFormat(bits, symmetric, search)
    check_block(weight, block)
    rows, columns = weight.shape
    weights = None if importance is None else _importance(importance, rows)
    values = np.empty((rows, columns), np.int8)
    scales = np.empty((-(-rows // block), columns), np.float32)
    zeros = None if symmetric else np.empty(scales.shape, np.int8)
    for i, top in enumerate(range(0, rows, block)):
        important = None if weights is None else weights[top : top + block]
        for left in range(0, columns, _COLUMNS):
            across = slice(left, left + _COLUMNS)
            part = as_float32(weight[top : top + block, across])
            scale, zero = layout.fit(part, important)
            values[top : top + block, across] = layout.integers(part, scale, zero)
            scales[i, across] = scale
            if zeros is not None and zero is not None:
                zeros[i, across] = zero
    return QuantizedWeight(values, scales, zeros, bits, 0, block)


def check_block(weight: NDArray[Any], block: int) -> None:
    """Raise InputError unless ``weight`` is [K, N], not empty, and ``block`` one of BLOCKS."""
    if weight.ndim != 2 or not weight.size:
        raise InputError(f"blocks are for a weight [K, N], found {list(weight.shape)}")
    if block not in BLOCKS:
        raise InputError(f"the block must be one of {BLOCKS}, found {block}")


def as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """``values`` in float32, itself if it is; raises InputError unless floats and all finite."""
    # ml_dtypes' bfloat16 is of kind 'V'
    if values.dtype.kind != "f" and values.dtype.name != "bfloat16":
        raise InputError(f"quantisation takes floats, found {values.dtype}")
    floats = values.astype(np.float32, copy=False)
    if not np.isfinite(floats).all():
        raise InputError(
            f"an array {list(values.shape)} to quantise has NaN or infinite values; "
            "check the checkpoint and the calibration data"
        )
    return floats


def _importance(importance: NDArray[Any], rows: int) -> NDArray[np.float32]:
    if importance.shape != (rows,):
        raise InputError(f"importance must be [{rows}], found {list(importance.shape)}")
    floats = as_float32(importance)
    if floats.min() < 0:
        raise InputError("importance must not be negative; give mean squares")
    return floats
