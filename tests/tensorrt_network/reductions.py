"""Layers that sum, average, normalise or choose along axes, which are the bits of a number."""

from __future__ import annotations

import numpy as np

from tests.tensorrt_network.data_types import Array
from tests.tensorrt_network.network import Layer, UnknownError

_REDUCE = {"SUM": np.sum, "PROD": np.prod, "MAX": np.max, "MIN": np.min, "AVG": np.mean}


def axes_of(bits: int, rank: int) -> tuple[int, ...]:
    """Return the axes whose bits are set; the lowest bit is the first axis."""
    if bits >> rank:
        raise UnknownError(f"axes {bits:b} of rank {rank}")
    return tuple(axis for axis in range(rank) if bits >> axis & 1)


def reduce(layer: Layer, x: Array) -> Array:
    static = layer.attributes
    if static["op"] not in _REDUCE or (static["op"] == "AVG" and x.dtype.kind != "f"):
        raise UnknownError(f"{layer.name}: no semantics for op = {static['op']}")
    axes = axes_of(static["axes"], x.ndim)
    made = _REDUCE[static["op"]](x, axis=axes, keepdims=static["keep_dims"])  # type: ignore[operator]
    return np.asarray(made, x.dtype)


def softmax(layer: Layer, x: Array) -> Array:
    axes = axes_of(layer.attributes["axes"], x.ndim)
    if len(axes) != 1:
        raise UnknownError(f"{layer.name}: a softmax along {axes}")
    return softmax_along(x, axes[0])


def softmax_along(x: Array, axis: int) -> Array:
    """Softmax in float32; a row of -inf alone gives NaN."""
    with np.errstate(invalid="ignore"):
        powers = np.exp(x - x.max(axis, keepdims=True))
        return np.asarray(powers / powers.sum(axis, keepdims=True))


def normalization(layer: Layer, x: Array, scale: Array, bias: Array) -> Array:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias``.

    With groups, the channels (axis 1) are split, and each group is normalised over its channels and the
    ``axes``. Scale and bias are per channel (``is_v2``); another layer has them per group.
    """
    static = layer.attributes
    groups, axes = static["num_groups"], axes_of(static["axes"], x.ndim)
    if scale.ndim != x.ndim or bias.ndim != x.ndim:
        raise UnknownError(f"{layer.name}: scale {scale.shape} of {x.shape}")
    if groups == 1:
        return _normalised(x, axes, static["epsilon"]) * scale + bias
    if not static["is_v2"] or axes != tuple(range(2, x.ndim)):
        raise UnknownError(f"{layer.name}: {groups} groups over the axes {axes}")
    split = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    made = _normalised(split, tuple(range(2, split.ndim)), static["epsilon"])
    return made.reshape(x.shape) * scale + bias


def _normalised(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centred = x - x.mean(axes, keepdims=True)
    variance = np.square(centred).mean(axes, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.float32(epsilon)))


def topk(layer: Layer, x: Array, *dynamic: Array) -> tuple[Array, Array]:
    """Return the ``k`` largest or smallest values and their places; among equal ones the first."""
    static = layer.attributes
    axes = axes_of(static["axes"], x.ndim)
    if dynamic or len(axes) != 1 or static["op"] not in ("MAX", "MIN"):
        raise UnknownError(f"{layer.name}: no semantics for op = {static['op']} along {axes}")
    keys = -x if static["op"] == "MAX" else x
    places = np.argsort(keys, axis=axes[0], kind="stable")
    places = np.take(places, range(static["k"]), axes[0])
    return np.take_along_axis(x, places, axes[0]), places.astype(np.int32)
