"""Activations as uint8 with zero point 128 instead of int8 with 0: x86's integer products want that.

    QuantizeLinear(x, scale, int8 0)   ->   QuantizeLinear(x, scale, uint8 128), and so its readers

The same numbers: every integer is 128 more, and saturates at the same values. Weights, which no
QuantizeLinear makes, keep their type.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import Unlike, check, known
from janus_edge.engines.lowering.passes import Outcome

_ZERO_POINT = 128


def rewrite(model: ir.Model) -> Outcome:
    """Every int8 QuantizeLinear that only DequantizeLinear reads; others are left with the reason."""
    changed, left = 0, []
    for node in [n for n in model.graph if matching.is_op(n, "QuantizeLinear")]:
        try:
            readers = _readers(node)
        except Unlike as why:
            left.append(f"{node.name}: {why}")
            continue
        shape = known(node.inputs[2]).shape
        zero_point = _zero_point(model.graph, tuple(shape.numpy()) if shape is not None else ())
        for each in (node, *readers):
            each.replace_input_with(2, zero_point)
        node.outputs[0].dtype = ir.DataType.UINT8
        changed += 1
    return Outcome(changed, tuple(left))


def _readers(node: ir.Node) -> list[ir.Node]:
    """The DequantizeLinear nodes behind a symmetric int8 QuantizeLinear."""
    _check_zero(node)
    output = node.outputs[0]
    check(
        "output_dtype" not in node.attributes, "its type is an attribute, not that of a zero point"
    )
    check(not output.is_graph_output(), f"{matching.named(output)} is an output of the graph")
    readers = [use.node for use in output.uses()]
    for reader in readers:
        check(
            matching.is_op(reader, "DequantizeLinear"),
            f"{matching.named(output)} is read by {reader.op_type}, not DequantizeLinear",
        )
        _check_zero(reader)
    return readers


def _check_zero(node: ir.Node) -> None:
    zero_point = matching.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    check(zero_point is not None, f"{node.op_type} has no constant zero point")
    assert zero_point is not None
    check(
        zero_point.dtype == np.int8 and not zero_point.any(),
        f"{node.op_type} has a zero point other than int8 0",
    )


def _zero_point(graph: ir.Graph, shape: tuple[int, ...]) -> ir.Value:
    name = "x".join(["unsigned_zero_point", *map(str, shape)])
    return matching.add_initializer(graph, name, np.full(shape, _ZERO_POINT, np.uint8))
