"""Layers that make, move and reshape numbers without computing with them."""

from __future__ import annotations

import numpy as np

from tests.tensorrt_network.data_types import INTEGERS, Array
from tests.tensorrt_network.network import Layer, UnknownError


def constant(layer: Layer) -> Array:
    values, shape = layer.attributes["weights"], layer.attributes["shape"]
    if values is None:
        return np.zeros(shape, np.float32)
    return np.asarray(values.reshape(shape))


def shape(layer: Layer, x: Array) -> Array:
    return np.array(x.shape, np.int64)


def fill(layer: Layer, *inputs: Array) -> Array:
    """``alpha + beta[0] i + beta[1] j ...`` at [i, j, ...]; inputs, if given, override attributes."""
    static = layer.attributes
    if len(inputs) == 3:
        sizes, alpha, beta = inputs
    elif static["shape"] is not None and not inputs:
        sizes, alpha, beta = (np.asarray(static[name]) for name in ("shape", "alpha", "beta"))
    else:
        raise UnknownError(f"{layer.name}: fills from {len(inputs)} inputs")
    if static["to_type"] not in ("INT64", "INT32"):
        raise UnknownError(f"{layer.name}: fills with {static['to_type']}")
    dtype = INTEGERS[static["to_type"]]
    if not (alpha.dtype == beta.dtype == dtype):
        raise UnknownError(f"{layer.name}: {alpha.dtype} and {beta.dtype} for {dtype}")
    made = np.full(tuple(sizes), alpha, dtype)
    for axis, (step, indices) in enumerate(zip(beta, np.indices(tuple(sizes)), strict=True)):
        del axis
        made += step * indices.astype(dtype)
    return made


def shuffle(layer: Layer, x: Array, sizes: Array | None = None) -> Array:
    """Transpose, reshape, transpose. -1 means the rest; 0 means a size of 0, or the input's own size."""
    static = layer.attributes
    x = x.transpose(static["first_transpose"][: x.ndim])
    wanted = static["reshape_dims"] if sizes is None else tuple(int(size) for size in sizes)
    if wanted is not None:
        if static["zero_is_placeholder"]:
            wanted = tuple(x.shape[i] if size == 0 else size for i, size in enumerate(wanted))
        x = x.reshape(wanted)
    return x.transpose(static["second_transpose"][: x.ndim])


def slices(layer: Layer, x: Array, *dynamic: Array | None) -> Array:
    """Take ``shape`` elements from ``start`` in steps of ``stride``, all within the input."""
    names = ("start", "shape", "stride", "fill", "axes")
    given = dict(zip(names, dynamic, strict=False))
    if given.pop("fill", None) is not None:
        raise UnknownError(f"{layer.name}: a slice with an input to fill from")
    found = {name: layer.attributes[name] for name in names if name != "fill"}
    found |= {name: tuple(map(int, values)) for name, values in given.items() if values is not None}
    axes = range(x.ndim) if found["axes"] is None else found["axes"]
    for axis, start, size, step in zip(
        axes, found["start"], found["shape"], found["stride"], strict=True
    ):
        places = start + step * np.arange(size)  # a stride of 0 repeats
        if size and not 0 <= places.min() <= places.max() < x.shape[axis]:
            raise IndexError(f"{layer.name}: {start}, {size}, {step} of {x.shape} at {axis}")
        x = np.take(x, places, axis)
    return x


def concatenation(layer: Layer, *parts: Array) -> Array:
    if len({(part.dtype, part.ndim) for part in parts}) != 1:
        raise UnknownError(f"{layer.name}: parts of several types or ranks")
    return np.concatenate(parts, layer.attributes["axis"])


def gather(layer: Layer, data: Array, indices: Array) -> Array:
    """Gather slices of ``data`` along an axis (mode DEFAULT)."""
    static = layer.attributes
    if static["mode"] != "DEFAULT" or static["num_elementwise_dims"] != 0:
        raise UnknownError(f"{layer.name}: gathers in mode {static['mode']}")
    axis = static["axis"]
    if indices.size and not 0 <= indices.min() <= indices.max() < data.shape[axis]:
        raise IndexError(f"{layer.name}: indices beyond {data.shape} at {axis}")
    return np.take(data, indices, axis)


def squeeze(layer: Layer, x: Array, axes: Array | None = None) -> Array:
    """Remove dimensions; without axes, all of size 1."""
    return np.squeeze(x, None if axes is None else tuple(map(int, axes.reshape(-1))))


def unsqueeze(layer: Layer, x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(map(int, axes.reshape(-1))))


_ROUNDING = {
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "HALF_UP": lambda at: np.floor(at + 0.5),
    "HALF_DOWN": lambda at: np.ceil(at - 0.5),
}


def resize(layer: Layer, x: Array) -> Array:
    """Resize to the nearest element, by static sizes or scales."""
    static = layer.attributes
    scales = static["scales"] or tuple(
        new / old for new, old in zip(static["shape"], x.shape, strict=True)
    )
    for axis, (scale, size) in enumerate(zip(scales, x.shape, strict=True)):
        if scale == 1:
            continue
        at = np.arange(int(np.floor(size * scale)), dtype=np.float32)
        kind = static["coordinate_transformation"]
        if kind == "HALF_PIXEL":
            at = (at + 0.5) / scale - 0.5
        elif kind == "ASYMMETRIC":
            at = at / scale
        else:
            raise UnknownError(f"{layer.name}: no semantics for {kind}")
        nearest = _ROUNDING[static["nearest_rounding"]](at).astype(int)
        x = np.take(x, np.clip(nearest, 0, size - 1), axis)
    return x
