"""Matrix products and convolutions, summed in float32."""

from __future__ import annotations

import numpy as np

from tests.tensorrt_network.data_types import Array
from tests.tensorrt_network.network import Layer, UnknownError


def matrix_multiply(layer: Layer, a: Array, b: Array) -> Array:
    """Multiply the last two dimensions and broadcast the others; a VECTOR has one dimension less."""
    left, right = layer.attributes["op0"], layer.attributes["op1"]
    for op in (left, right):
        if op not in ("NONE", "TRANSPOSE", "VECTOR"):
            raise UnknownError(f"{layer.name}: no semantics for op = {op}")
    if a.dtype != np.float32 or b.dtype != np.float32:
        raise UnknownError(f"{layer.name}: a product of {a.dtype} and {b.dtype}")
    a = a.swapaxes(-1, -2) if left == "TRANSPOSE" else a
    b = b.swapaxes(-1, -2) if right == "TRANSPOSE" else b
    a = a[..., None, :] if left == "VECTOR" else a
    b = b[..., None] if right == "VECTOR" else b
    if a.ndim != b.ndim:
        raise UnknownError(f"{layer.name}: ranks {a.ndim} and {b.ndim}")
    made = np.matmul(a, b)
    made = made[..., 0, :] if left == "VECTOR" else made
    return made[..., 0] if right == "VECTOR" else made


def convolution(
    layer: Layer, x: Array, kernel: Array | None = None, bias: Array | None = None
) -> Array:
    """Convolve [N, C, H, W] in 2-D; kernel and bias are attributes unless they are inputs."""
    static = layer.attributes
    maps, groups = static["num_output_maps"], static["num_groups"]
    if x.ndim != 4:
        raise UnknownError(f"{layer.name}: a convolution of rank {x.ndim}")
    weights = static["kernel"] if kernel is None else kernel
    weights = weights.reshape(maps, x.shape[1] // groups, *static["kernel_size_nd"])
    added = static["bias"] if bias is None else bias
    made = _sums(layer, x, weights)
    return made if added is None else made + added.reshape(1, maps, 1, 1)


def _sums(layer: Layer, x: Array, weights: Array) -> Array:
    """Sum the products of each kernel position, one position after the other."""
    static = layer.attributes
    pads = [(0, 0), (0, 0), *zip(static["pre_padding"], static["post_padding"], strict=True)]
    padded = np.pad(x, pads)
    (down, across), (step, stride) = static["dilation_nd"], static["stride_nd"]
    maps, depth, tall, broad = weights.shape
    high = (padded.shape[2] - (tall - 1) * down - 1) // step + 1
    wide = (padded.shape[3] - (broad - 1) * across - 1) // stride + 1
    count, groups = len(x), static["num_groups"]
    made = np.zeros((count, groups, maps // groups, high * wide), np.float32)
    # numpy multiplies matrices fast if they are contiguous
    places = np.ascontiguousarray(weights.transpose(2, 3, 0, 1)).reshape(
        tall, broad, groups, maps // groups, depth
    )
    for row, column in np.ndindex(tall, broad):
        top, left = row * down, column * across
        part = padded[:, :, top : top + high * step : step, left : left + wide * stride : stride]
        part = part[:, :, :high, :wide].reshape(count, groups, depth, high * wide)
        made += np.matmul(places[row, column], part)
    return made.reshape(count, maps, high, wide)
