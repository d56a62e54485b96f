"""GroupNormalization (opset 21) as InstanceNormalization of the groups, and a factor per channel.

    y = Add(Mul(Reshape(InstanceNormalization(Reshape(x, [N, groups, -1]))), scale), bias)

Opset 18 has a GroupNormalization too, with scale and bias per group, which ONNX has withdrawn.
TensorRT's parser knows that of opset 21, with scale and bias per channel, from 10.9 on, and read
its inputs as the older one's before. InstanceNormalization has meant one thing since opset 6, and
TensorRT makes the same layer of it, which accumulates in float32 as ``stash_type`` 1 asks for.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import Writer, nodes_of

_DEFAULT_EPSILON = 1e-5


def rewrite(model: ir.Model) -> Outcome:
    """Every GroupNormalization in float32 or float16; others are left with the reason."""
    changed, left = 0, []
    for node in nodes_of(model, "GroupNormalization"):
        reason = _reason(model, node)
        if reason:
            left.append(f"{node.name}: {reason}")
            continue
        _rewrite(model.graph, node)
        changed += 1
    return Outcome(changed, tuple(left))


def _reason(model: ir.Model, node: ir.Node) -> str | None:
    """Why ``node`` is left; None where it fits."""
    x = node.inputs[0]
    assert x is not None
    if model.opset_imports[""] < 21:
        return "its scale and bias are per group before opset 21"
    if x.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        return f"InstanceNormalization of opset 20 has no {x.dtype}"
    if x.shape is None or len(x.shape) < 3:
        return f"'{x.name}' is not known to have at least three axes"
    if node.attributes.get_int("stash_type", 1) != ir.DataType.FLOAT:
        return "stash_type is another than 1: what it computes in is not float32"
    return None


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    x, scale, bias = node.inputs
    assert x is not None
    assert x.shape is not None
    write, dtype, groups = Writer(graph, node), x.dtype, node.attributes["num_groups"].as_int()
    assert dtype is not None
    together = write.op("Reshape", [x, write.integers(0, groups, -1)], dtype)
    ones = write.constant(f"{groups}_ones", np.ones(groups, dtype.numpy()))
    zeros = write.constant(f"{groups}_zeros", np.zeros(groups, dtype.numpy()))
    epsilon = node.attributes.get_float("epsilon", _DEFAULT_EPSILON)
    normalised = write.op("InstanceNormalization", [together, ones, zeros], dtype, epsilon=epsilon)
    shape = write.op("Shape", [x], ir.DataType.INT64, ir.Shape([len(x.shape)]))
    apart = write.op("Reshape", [normalised, shape], dtype, x.shape)
    columns = write.integers(-1, *[1] * (len(x.shape) - 2))
    factor, shift = (write.op("Reshape", [v, columns], dtype) for v in (scale, bias))
    product = write.op("Mul", [apart, factor], dtype, x.shape)
    write.finish(write.op("Add", [product, shift], dtype))
