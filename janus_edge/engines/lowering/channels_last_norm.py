"""GroupNormalization of a picture with channels last, strip by strip.

Sums of a strip's values and squares are taken while it is in the processor's caches; all strips' give
each channel one factor and one summand. The variance is the mean square less the squared mean, in
float32: right to about 1e-6 of the mean square, far below the steps of 8 bits that such a graph rounds to.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering.matching import known
from janus_edge.engines.lowering.picture_strips import Picture, shape, stacked
from janus_edge.engines.lowering.primitives import Writer

_FLOAT = ir.DataType.FLOAT
_DEFAULT_EPSILON = 1e-5


def normalise(write: Writer, node: ir.Node, picture: Picture) -> Picture:
    """GroupNormalization of ``picture``, with scale and bias per channel (opset 21)."""
    groups = node.attributes["num_groups"].as_int()
    epsilon = node.attributes.get_float("epsilon", _DEFAULT_EPSILON)
    _, scale, bias = map(known, node.inputs)
    count = picture.positions * (picture.channels // groups)
    squares = (write.op("Mul", [s, s], _FLOAT, s.shape) for s in picture.strips)
    mean = _mean(write, picture, groups, count)
    mean_square = _mean(write, picture.of(squares), groups, count)
    squared_mean = write.op("Mul", [mean, mean], _FLOAT)
    variance = write.op("Sub", [mean_square, squared_mean], _FLOAT)
    least = write.op("Max", [variance, write.scalar(0.0, _FLOAT)], _FLOAT)  # rounding
    deviation = write.op(
        "Sqrt", [write.op("Add", [least, write.scalar(epsilon, _FLOAT)], _FLOAT)], _FLOAT
    )
    inverse = write.op("Reciprocal", [deviation], _FLOAT)
    factor = write.op("Mul", [_channels(write, inverse, picture, groups), scale], _FLOAT)
    product = write.op("Mul", [_channels(write, mean, picture, groups), factor], _FLOAT)
    summand = write.op("Sub", [bias, product], _FLOAT)
    scaled = [write.op("Mul", [s, factor], _FLOAT, s.shape) for s in picture.strips]
    return picture.of(write.op("Add", [s, summand], _FLOAT, s.shape) for s in scaled)


def _mean(write: Writer, picture: Picture, groups: int, count: int) -> ir.Value:
    """Of each group: [N, groups, 1]. Sums over a row come first: ONNX Runtime has a fast kernel only
    where an axis between two others is summed."""
    channels, width = picture.channels, picture.width
    by_row = write.integers(-1, width, channels)
    rows = []
    for strip in picture.strips:
        apart = write.op("Reshape", [strip, by_row], _FLOAT)
        sums = write.op("ReduceSum", [apart, write.integers(1)], _FLOAT, keepdims=0)
        together = write.integers(-1, picture.rows, channels)
        rows.append(
            write.op("Reshape", [sums, together], _FLOAT, shape(strip, picture.rows, channels))
        )
    total = write.op("ReduceSum", [stacked(write, rows), write.integers(1)], _FLOAT, keepdims=0)
    grouped = write.op("Reshape", [total, write.integers(-1, groups, channels // groups)], _FLOAT)
    summed = write.op("ReduceSum", [grouped, write.integers(2)], _FLOAT, keepdims=1)
    return write.op(
        "Mul", [summed, write.constant(f"1/{count}", np.array(1 / count, np.float32))], _FLOAT
    )


def _channels(write: Writer, value: ir.Value, picture: Picture, groups: int) -> ir.Value:
    """[N, groups, 1] -> [N, 1, C]."""
    size = picture.channels // groups
    many = write.op("Expand", [value, write.integers(1, groups, size)], _FLOAT)
    return write.op("Reshape", [many, write.integers(-1, 1, picture.channels)], _FLOAT)
