"""How new keys or values come into the cache and out of it again, as floats or as integers.

    new -> TensorScatter(past) -> present -> Attention
    new -> Div(scale) -> QuantizeLinear -> TensorScatter(past) -> present
                                present -> DequantizeLinear -> Mul(scale) -> Attention

In the second form (``calib/cache_quantizer.py`` writes it) both linear operators have the scale 1 and
the zero point int8 0, and ``scale`` is a constant [1, heads, 1, D].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import check, known, producer


@dataclass(frozen=True, slots=True)
class CacheWrite:
    """``new`` [B, heads, S, D] is written into ``past`` at ``at`` [B], which gives ``present``.

    ``scale`` is that of integers, None for floats; ``nodes`` run from ``new`` to what reads the cache.
    """

    new: ir.Value
    past: ir.Value
    at: ir.Value
    present: ir.Value
    scale: ir.Value | None
    nodes: tuple[ir.Node, ...]


def cache_write(cached: ir.Value) -> CacheWrite:
    """What fills the cache that is read as ``cached``; raises Unlike."""
    before, after, present, scale = list[ir.Node](), list[ir.Node](), cached, None
    if matching.is_op(cached.producer(), "Mul"):
        multiply = producer(cached, "Mul")
        counts, scale = map(known, multiply.inputs)
        dequantize = producer(counts, "DequantizeLinear")
        _check_unit(dequantize)
        present, after = known(dequantize.inputs[0]), [dequantize, multiply]
    scatter = producer(present, "TensorScatter")
    matching.only_attributes(scatter, {"axis": [2, -2], "mode": ["linear"]})
    check(len(scatter.inputs) == 3, "the cache is written without write indices")
    past, new, at = map(known, scatter.inputs)
    if scale is not None:
        quantize = producer(new, "QuantizeLinear")
        _check_unit(quantize)
        divide = producer(quantize.inputs[0], "Div")
        new, divisor = map(known, divide.inputs)
        check(divisor is scale, "the cache is written with another scale than it is read with")
        shape = [1, matching.size(past, 1), 1, matching.size(past, 3)]
        found = matching.stored(scale)
        check(
            found is not None and list(found.shape.numpy()) == shape,
            f"{matching.named(scale)} is not a constant {shape}, one factor per channel",
        )
        before = [divide, quantize]
    return CacheWrite(new, past, at, present, scale, (*before, scatter, *after))


def float_scale(graph: ir.Graph, scale: ir.Value) -> ir.Value:
    """``scale`` as the float32 that ONNX Runtime's GroupQueryAttention wants."""
    values = matching.constant(scale)
    if values is None or values.dtype == np.float32:
        return scale
    return matching.add_initializer(graph, f"{scale.name}.float32", values.astype(np.float32))


def _check_unit(node: ir.Node) -> None:
    """Check that a QuantizeLinear or DequantizeLinear only changes the type."""
    matching.only_attributes(node, {"axis": [1], "saturate": [1], "block_size": [0]})
    check(len(node.inputs) == 3, f"{node.op_type} has no zero point")
    scale, zero_point = matching.constant(node.inputs[1]), matching.constant(node.inputs[2])
    check(
        scale is not None and scale.tolist() == 1.0,
        f"the scale of {node.op_type} is not 1 beside the one per channel",
    )
    check(
        zero_point is not None and zero_point.dtype == np.int8 and zero_point.tolist() == 0,
        f"the zero point of {node.op_type} is not int8 0",
    )
