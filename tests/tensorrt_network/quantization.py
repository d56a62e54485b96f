"""Quantise and dequantise: per tensor, per channel and per block, symmetric."""

from __future__ import annotations

import numpy as np

from tests.tensorrt_network.data_types import INTEGERS, RANGES, Array
from tests.tensorrt_network.network import Layer, UnknownError


def quantize(layer: Layer, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
    """``clamp(round(x / scale))``, ties to even; the interpreter rounds to FP8 and FP4."""
    to_type = layer.attributes["to_type"]
    if to_type not in RANGES:
        raise UnknownError(f"{layer.name}: quantises to {to_type}")
    _check_zero(layer, zero_point)
    low, high = RANGES[to_type]
    scaled = x / _spread(layer, scale, x)
    if to_type not in INTEGERS:
        return np.clip(scaled, low, high)
    return np.clip(np.rint(scaled), low, high).astype(INTEGERS[to_type])


def dequantize(layer: Layer, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
    """``x * scale``."""
    if layer.attributes["to_type"] not in ("FLOAT", "HALF", "BF16"):
        raise UnknownError(f"{layer.name}: dequantises to {layer.attributes['to_type']}")
    _check_zero(layer, zero_point)
    return x.astype(np.float32) * _spread(layer, scale, x)


def _spread(layer: Layer, scale: Array, x: Array) -> Array:
    """Return ``scale`` in a shape that broadcasts to that of ``x``."""
    if scale.size == 1:
        return scale.reshape(())
    if scale.ndim == 1:
        axis = layer.attributes["axis"]
        if x.shape[axis] != scale.size:
            raise UnknownError(f"{layer.name}: {scale.size} scales for {x.shape} at {axis}")
        return scale.reshape([-1 if at == axis else 1 for at in range(x.ndim)])
    blocked = [at for at in range(x.ndim) if scale.shape[at] != x.shape[at]]
    if scale.ndim != x.ndim or len(blocked) > 1 or (blocked and blocked[0] < x.ndim - 2):
        raise UnknownError(f"{layer.name}: scales {scale.shape} for {x.shape}")
    for at in blocked:
        if x.shape[at] % scale.shape[at]:
            raise UnknownError(f"{layer.name}: blocks {scale.shape} do not divide {x.shape}")
        scale = np.repeat(scale, x.shape[at] // scale.shape[at], at)
    return scale


def _check_zero(layer: Layer, zero_point: Array | None) -> None:
    if zero_point is not None and zero_point.any():
        raise UnknownError(f"{layer.name}: TensorRT has no zero points other than 0")
