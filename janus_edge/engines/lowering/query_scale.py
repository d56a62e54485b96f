"""Apply attention's scale to the queries alone.

    Attention(q, k, v, scale = s)   ->   Attention(Mul(q, s), k, v, scale = 1)

ONNX scales queries and keys by the root of ``s`` each. TensorRT's parser writes that as two products,
so a step would read, multiply and write every key of the cache. Multiplying the queries costs almost
nothing. If ``s`` is a power of two (heads of 16 or 64 channels) and every value stays exact, it
moves into the constants of the query projection, which removes the product.

The parser adds its two products even for a scale of 1; `engines/tensorrt/attention.py` removes them
from the parsed network.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import Unlike, check, known, producer
from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import Writer, nodes_of

#: Operators allowed between a projection and its attention: linear, without constants to scale.
_LINEAR = ("Reshape", "Transpose", "RotaryEmbedding", "Unsqueeze", "Squeeze")


def rewrite(model: ir.Model) -> Outcome:
    """Scale the queries of every Attention; report the rest and why."""
    changed, left = 0, []
    for node in nodes_of(model, "Attention"):
        query = node.inputs[0]
        if query is None or query.shape is None or not isinstance(query.shape[-1], int):
            left.append(f"{node.name}: the graph does not fix the channels of its queries")
            continue
        default = 0.0 if len(query.shape) != 4 else 1 / math.sqrt(query.shape[-1])
        scale = node.attributes.get_float("scale", default)
        if not scale:
            left.append(f"{node.name}: it has neither a scale nor heads as an axis")
            continue
        try:
            _fold(model.graph, query, scale)
        except Unlike:
            query = _scaled(model.graph, node, query, scale)
        node.replace_input_with(0, query)
        node.attributes["scale"] = ir.AttrFloat32("scale", 1.0)
        changed += 1
    return Outcome(changed, tuple(left))


def _scaled(graph: ir.Graph, node: ir.Node, query: ir.Value, scale: float) -> ir.Value:
    write, dtype = Writer(graph, node), query.dtype
    assert dtype is not None
    return write.op("Mul", [query, write.scalar(scale, dtype)], dtype, query.shape)


def _fold(graph: ir.Graph, query: ir.Value, scale: float) -> None:
    """Scale the constants of the projection that makes ``query``; raises Unlike if that is not exact."""
    check(math.frexp(scale)[0] == 0.5, f"{scale:.6g} is not a power of two")
    value = query
    while (node := value.producer()) is not None and node.op_type in _LINEAR:
        value = _source(value, node)
    constants = []
    if node is not None and node.op_type == "Add":
        bias = next((i for i in node.inputs if matching.stored(i) is not None), None)
        constants.append((node, known(bias)))
        check(_readers(value) == 1, f"{matching.named(value)} has other readers")
        value = known(next(i for i in node.inputs if i is not bias))
    product = producer(value, "MatMul")
    check(_readers(value) == 1, f"{matching.named(value)} has other readers")
    weight, holder = known(product.inputs[1]), product
    if matching.stored(weight) is None:  # scaling the quantisation scale scales the weights
        holder = producer(weight, "DequantizeLinear")
        check(_readers(weight) == 1, f"{matching.named(weight)} has other readers")
        weight = known(holder.inputs[1])
    constants.append((holder, weight))
    scaled = [(reader, old, _times(old, scale)) for reader, old in constants]
    for reader, old, new in scaled:  # all or nothing: the checks are above
        graph.register_initializer(new)
        reader.replace_input_with([*reader.inputs].index(old), new)


def _source(value: ir.Value, node: ir.Node) -> ir.Value:
    check(_readers(value) == 1, f"{matching.named(value)} has other readers")
    return known(node.inputs[0])


def _readers(value: ir.Value) -> int:
    """Count readers of ``value``, plus one if it is a graph output; Shape reads no values."""
    reading = [use for use in value.uses() if not matching.is_op(use.node, "Shape")]
    return len(reading) + value.is_graph_output()


def _times(value: ir.Value, scale: float) -> ir.Value:
    """Return a new constant, ``value`` times ``scale``; raises Unlike if a value would be rounded."""
    tensor = matching.stored(value)
    check(tensor is not None, f"{matching.named(value)} is not a constant")
    assert tensor is not None
    before = tensor.numpy()
    factor = before.dtype.type(scale)
    after = before * factor
    check(np.array_equal(after / factor, before), f"{matching.named(value)} would be rounded")
    name = f"{value.name}.scaled"
    check(name not in known(value).graph.initializers, f"{name} already exists")  # type: ignore[union-attr]
    made = ir.tensor(after, dtype=tensor.dtype, name=name)
    return ir.Value(name=name, type=value.type, shape=value.shape, const_value=made)
