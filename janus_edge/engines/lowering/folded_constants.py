"""Nodes that depend on initializers only, replaced by what they compute, where that is small.

Never a DequantizeLinear: its integers are the point of it. Computed by ONNX's reference evaluator.
The canonical graphs have no such nodes; lowerings to older operator sets make some.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import Unlike, check, known
from janus_edge.engines.lowering.passes import Outcome

#: Results and operands of more bytes are left to be computed at run time.
_LARGEST = 1 << 16

#: Quantised values stay what they are; random ones are not constants.
_KEPT = frozenset(
    {"DequantizeLinear", "QuantizeLinear", "RandomNormal", "RandomUniform", "RandomNormalLike",
     "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}
)  # fmt: skip


def rewrite(model: ir.Model) -> Outcome:
    """Nodes of the graph itself, in order, so that what depends on results is folded as well."""
    model.graph.sort()
    changed, left = 0, []
    for node in list(model.graph):
        constant = all(i is None or matching.stored(i) is not None for i in node.inputs)
        if not node.inputs or not constant or node.op_type in _KEPT:
            continue
        try:
            _check(node)
        except Unlike as why:
            left.append(f"{node.name}: {why}")
            continue
        _fold(model, node)
        changed += 1
    return Outcome(changed, tuple(left))


def _check(node: ir.Node) -> None:
    check(not node.domain, f"{node.op_type} is no standard operator")
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    check(not any(a.type in graphs for a in node.attributes.values()), "it has a graph of its own")
    for value in filter(None, node.inputs):
        tensor = matching.stored(value)
        assert tensor is not None
        check(tensor.nbytes <= _LARGEST, f"{matching.named(value)} has {tensor.nbytes} bytes")
    for value in node.outputs:
        check(not value.is_graph_output(), f"{matching.named(value)} is an output of the graph")
        nbytes = _nbytes(value)
        check(nbytes <= _LARGEST, f"{matching.named(value)} has {nbytes} bytes")


def _nbytes(value: ir.Value) -> int:
    if value.shape is None or not value.shape.is_static() or value.dtype is None:
        raise Unlike(f"the graph does not tell how large {matching.named(value)} is")
    return math.ceil(math.prod(value.shape.numpy()) * value.dtype.itemsize)


def _fold(model: ir.Model, node: ir.Node) -> None:
    operands = {known(i).name: matching.constant(i) for i in node.inputs if i}
    results = _evaluate(node, operands, model.opset_imports[""])
    for value, result in zip(list(node.outputs), results, strict=True):
        name, dtype = known(value).name, known(value).dtype
        assert name is not None
        assert dtype is not None
        value.name = f"{name}.computed"
        folded = matching.add_initializer(model.graph, name, result.astype(dtype.numpy()))
        matching.replace([value], [folded])
    model.graph.remove(node, safe=True)


def _evaluate(
    node: ir.Node, operands: dict[str | None, np.ndarray | None], opset: int
) -> list[np.ndarray]:
    outputs = [o.name or "" for o in node.outputs]
    inputs = [onnx.ValueInfoProto(name=name) for name in operands]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = onnx.helper.make_graph([ir.to_proto(node)], "folded", inputs, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return [np.asarray(r) for r in ReferenceEvaluator(model).run(None, operands)]
