"""Attention (opset 23 and 24) over all keys as MatMul, Softmax and MatMul.

    softmax(scale q k^T) v

The queries are scaled before the product, by the whole factor. ONNX scales queries and keys by its
root each, for the same reason: a float16 product must not overflow. Scaling queries alone touches the
smaller tensor. Softmax has the type of the inputs, or that of the attribute ``softmax_precision``;
TensorRT's float16 kernels accumulate in float32.

Grouped queries: heads that share a key stand behind one another, so that reshaping them into
[B, kv_heads, group S, D] makes one product per key without repeating keys.

:mod:`appended_attention` handles attention on a cache.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import (
    LOWEST,
    Allowed,
    Writer,
    inputs_of,
    nodes_of,
    regroup,
    unexpected_attribute,
)


def rewrite(model: ir.Model) -> Outcome:
    """Rewrite every Attention without mask and cache; report the rest and why."""
    changed, left = 0, []
    for node in nodes_of(model, "Attention"):
        reason = _reason(node)
        if reason:
            left.append(f"{node.name}: {reason}")
            continue
        _rewrite(model.graph, node)
        changed += 1
    return Outcome(changed, tuple(left))


def _reason(node: ir.Node) -> str | None:
    """Why ``node`` is left; None where it fits."""
    query, key, value, mask, past_key, past_value, lengths = inputs_of(node, 7)
    if any((mask, past_key, past_value, lengths)):
        return "it has a mask, a cache or lengths"
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return "an output other than its first is read"
    for each in (query, key, value):
        assert each is not None
        if each.shape is None or len(each.shape) != 4:
            return f"'{each.name}' is not known to have four axes"
        if not isinstance(each.shape[1], int) or not isinstance(each.shape[3], int):
            return f"the graph does not fix heads and channels of '{each.name}'"
        if each.dtype not in LOWEST or query is None or each.dtype != query.dtype:
            return f"'{each.name}' is {each.dtype}"
    if _size(query, 1) % _size(key, 1) or _size(key, 1) != _size(value, 1):
        return f"{_size(query, 1)} heads are not a multiple of {_size(key, 1)} key heads"
    allowed: Allowed = {
        "is_causal": (0,),
        "scale": (node.attributes.get_float("scale", 0.0),),
        "softcap": (0.0,),
        "qk_matmul_output_mode": (0,),
        "softmax_precision": tuple(map(int, LOWEST)),
    }
    return unexpected_attribute(node, allowed)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    query, key, value = inputs_of(node, 3)
    assert query is not None
    write, dtype = Writer(graph, node), query.dtype
    assert dtype is not None
    heads, shared = _size(query, 1), _size(key, 1)
    scale = node.attributes.get_float("scale", 1 / math.sqrt(_size(query, 3)))
    scaled = write.op("Mul", [query, write.scalar(scale, dtype)], dtype, query.shape)
    turned = write.op("Transpose", [key], dtype, perm=[0, 1, 3, 2])
    scores = write.op("MatMul", [regroup(write, scaled, heads, shared), turned], dtype)
    precision = ir.DataType(node.attributes.get_int("softmax_precision", int(dtype)))
    weights = write.softmax(scores, precision)
    write.finish(regroup(write, write.op("MatMul", [weights, value], dtype), shared, heads))


def _size(value: ir.Value | None, axis: int) -> int:
    assert value is not None
    assert value.shape is not None
    size = value.shape[axis]
    assert isinstance(size, int)
    return size
