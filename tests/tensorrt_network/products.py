"""Matrix products and convolutions; sums are of float32."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.tensorrt_network.data_types import Array
from tests.tensorrt_network.network import Layer, UnknownError


def matrix_multiply(layer: Layer, a: Array, b: Array) -> Array:
    """Of the last two dimensions, the others broadcast; a VECTOR has one dimension less."""
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
    """2-D, [N, C, H, W]; kernel and bias are attributes unless they are inputs."""
    static = layer.attributes
    maps, groups = static["num_output_maps"], static["num_groups"]
    if x.ndim != 4:
        raise UnknownError(f"{layer.name}: a convolution of rank {x.ndim}")
    weights = static["kernel"] if kernel is None else kernel
    weights = weights.reshape(maps, x.shape[1] // groups, *static["kernel_size_nd"])
    added = static["bias"] if bias is None else bias
    pads = [(0, 0), (0, 0), *zip(static["pre_padding"], static["post_padding"], strict=True)]
    padded = np.pad(x, pads)
    dilation, stride = static["dilation_nd"], static["stride_nd"]
    reach = [(size - 1) * by + 1 for size, by in zip(weights.shape[2:], dilation, strict=True)]
    windows = sliding_window_view(padded, tuple(reach), axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    n, channels, high, wide = windows.shape[:4]
    # [N, groups, H, W, C/groups, kernel] as rows
    split = windows.reshape(n, groups, channels // groups, high, wide, *weights.shape[2:])
    rows = split.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, n * high * wide, -1)
    columns = weights.reshape(groups, maps // groups, -1).swapaxes(1, 2)
    made = np.matmul(rows, columns).reshape(groups, n, high, wide, maps // groups)
    made = made.transpose(1, 0, 4, 2, 3).reshape(n, maps, high, wide)
    return made if added is None else made + added.reshape(1, maps, 1, 1)
