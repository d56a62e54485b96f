"""Convolutions of 8-bit integers as ConvInteger: ONNX Runtime computes their Q/DQ form in floats.

    Conv(DequantizeLinear(x uint8), DequantizeLinear(w int8), bias)
        ->  Add(DequantizeLinear(ConvInteger(x, w as uint8), x scale * w scale), bias)

ONNX Runtime (1.31) makes an integer convolution of a Q/DQ pair before Conv only where the output is
quantised as well (QLinearConv), which costs accuracy and which these graphs do not do; else it runs
a float Conv and dequantises input and weights before it at every call. Here the sums stay exact
32-bit integers. The weights are stored as uint8 with zero point 128, the same numbers, for its
ConvInteger takes int8 weights four to five times as long on x86 without VNNI. Inputs must be uint8
(``unsigned_activations.py`` comes before), with one scale, and weights int8 with one per output
channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import Unlike, check, known, producer
from janus_edge.engines.lowering.passes import Outcome

_ZERO_POINT = 128


@dataclass(frozen=True, slots=True)
class _Place:
    """A Conv of ``inputs`` (uint8, their zero point) and ``weights`` (int8).

    ``scale`` [out] float32 belongs to the sums of their products.
    """

    node: ir.Node
    inputs: tuple[ir.Value, ir.Value]
    weights: ir.Value
    scale: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def rewrite(model: ir.Model) -> Outcome:
    """Every Conv of integers; a Conv whose input or weights are floats is none, and not mentioned."""
    changed, left = 0, []
    for node in [n for n in model.graph if matching.is_op(n, "Conv")]:
        if not all(
            matching.is_op(known(i).producer(), "DequantizeLinear") for i in node.inputs[:2]
        ):
            continue
        try:
            place = _match(node)
        except Unlike as why:
            left.append(f"{node.name}: {why}")
            continue
        _rewrite(model.graph, place)
        changed += 1
    return Outcome(changed, tuple(left))


def _match(node: ir.Node) -> _Place:
    of_input, of_weights = (producer(i, "DequantizeLinear") for i in node.inputs[:2])
    check(
        len(of_input.inputs) == 3 and len(of_weights.inputs) == 3, "a zero point is not written out"
    )
    quantised, input_scale, input_zero = map(known, of_input.inputs)
    scale, zero = matching.constant(input_scale), matching.constant(input_zero)
    check(scale is not None and scale.ndim == 0, "its input has no constant scale of its own")
    check(zero is not None and zero.dtype == np.uint8, "its input is not uint8")
    weights, weight_scale, weight_zero = map(known, of_weights.inputs)
    check(
        matching.stored(weights) is not None and weights.dtype == ir.DataType.INT8,
        f"{matching.named(weights)} is not a constant of int8",
    )
    matching.only_attributes(of_weights, {"axis": [0], "block_size": [0]})
    scales, zeros = matching.constant(weight_scale), matching.constant(weight_zero)
    check(
        scales is not None and scales.shape == (matching.size(weights, 0),),
        f"{matching.named(weight_scale)} is not a constant with a scale per output channel",
    )
    check(zeros is not None and not zeros.any(), "its weights have zero points other than 0")
    assert scale is not None
    assert scales is not None
    check(scale.dtype == scales.dtype == np.float32, "its scales are not float32")
    check(
        len(node.inputs) < 3 or matching.rank(known(node.inputs[2])) == 1,
        "its bias is not one value per channel",
    )
    return _Place(node, (quantised, input_zero), weights, scale * scales)


def _rewrite(graph: ir.Graph, place: _Place) -> None:
    node, old = place.node, place.node.outputs[0]
    bias = node.inputs[2] if len(node.inputs) == 3 else None
    weight_zero = matching.add_initializer(
        graph, "unsigned_weight_zero_point", np.array(_ZERO_POINT, np.uint8)
    )
    scale = matching.add_initializer(graph, f"{node.name}.scale", place.scale)
    sums = ir.Value(name=f"{old.name}.sums", type=ir.TensorType(ir.DataType.INT32), shape=old.shape)
    scaled = matching.take_over(old, None if bias is None else f"{old.name}.scaled")
    attributes = [a for name, a in node.attributes.items() if isinstance(a, ir.Attr)]
    made = [
        ir.Node(
            "", "ConvInteger",
            [place.inputs[0], _unsigned(graph, place.weights), place.inputs[1], weight_zero],
            attributes, name=f"{node.name}/ConvInteger", outputs=[sums],
        ),
        ir.node(
            "DequantizeLinear", [sums, scale], {"axis": 1},
            name=f"{node.name}/DequantizeLinear", outputs=[scaled],
        ),
    ]  # fmt: skip
    if bias is not None:
        made += _biased(graph, node, scaled, bias)
    graph.insert_before(node, made)
    matching.replace([old], made[-1].outputs)
    graph.remove(node, safe=True)


def _biased(graph: ir.Graph, node: ir.Node, scaled: ir.Value, bias: ir.Value) -> list[ir.Node]:
    """``scaled`` [N, out, ...] plus ``bias`` [out]."""
    rank = matching.rank(known(node.inputs[0])) or 4
    column = matching.add_initializer(graph, f"bias_axes_{rank}", np.arange(1, rank - 1))
    shaped = ir.node("Unsqueeze", [bias, column], name=f"{node.name}/bias/Unsqueeze")
    shaped.outputs[0].name = f"{node.name}.bias_column"
    added = ir.node(
        "Add", [scaled, shaped.outputs[0]],
        name=f"{node.name}/Add", outputs=[matching.take_over(node.outputs[0])],
    )  # fmt: skip
    return [shaped, added]


def _unsigned(graph: ir.Graph, weights: ir.Value) -> ir.Value:
    """A new initializer with each weight 128 higher, made when the model is written."""
    name = f"{weights.name}.unsigned"
    if name in graph.initializers:
        return graph.initializers[name]
    stored, dtype = matching.stored(weights), ir.DataType.UINT8
    assert stored is not None

    def raised() -> ir.TensorProtocol:
        values = stored.numpy().astype(np.int16) + _ZERO_POINT
        return ir.Tensor(values.astype(np.uint8), dtype=dtype)

    shape = ir.Shape(stored.shape.numpy())
    value = ir.Value(
        name=name, type=ir.TensorType(dtype), shape=shape,
        const_value=ir.LazyTensor(raised, dtype, shape, name=name),
    )  # fmt: skip
    graph.register_initializer(value)
    return value
