"""Attention (opset 23 and 24) as MatMul, Softmax and MatMul, for the two forms the graphs have.

    all keys:   softmax(scale q k^T) v
    causal over a cache (is_causal, nonpad_kv_seqlen):   softmax(scale q k^T + bias) v
        bias[b, 0, s, c] = 0 where c <= nonpad[b] - S + s, else the lowest finite number

The mask is bottom-right aligned, so prefill, chunks and single steps are one graph. A query never
has every key masked: nonpad = past_lengths + S >= S, so its position nonpad - S + s is at least 0
and key 0 is allowed. Hence the lowest finite number serves as well as minus infinity (a masked
weight is exp(lowest - maximum) = 0), and Softmax never sees a row without a finite number. What
lies in the cache behind a row must be finite, as for the operator itself.

The queries are scaled before the product, by the whole factor. ONNX scales queries and keys by its
root each, for the same reason, that a product of float16 must not overflow; but scaling the keys
would read and write the whole cache at every step. Softmax has the type of the inputs, or that of
the attribute ``softmax_precision``; TensorRT's float16 kernels accumulate in float32.

Grouped queries: heads that share a key stand behind one another, so that reshaping them into
[B, kv_heads, group S, D] makes one product per key without repeating keys.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import (
    Allowed,
    Writer,
    inputs_of,
    nodes_of,
    sizes,
    unexpected_attribute,
)

#: The float types, and the lowest finite number of each.
_LOWEST = {
    ir.DataType.FLOAT: -3.4028234663852886e38,
    ir.DataType.FLOAT16: -65504.0,
    ir.DataType.BFLOAT16: -3.3895313892515355e38,
}

#: Masks [B, 1, S, C] by lengths, float type, and the sizes B, S and C.
_Masks = dict[tuple[object, ...], ir.Value]


def rewrite(model: ir.Model) -> Outcome:
    """Every Attention of those two forms; others are left with the reason."""
    changed, left, masks = 0, [], _Masks()
    for node in nodes_of(model, "Attention"):
        reason = _reason(node)
        if reason:
            left.append(f"{node.name}: {reason}")
            continue
        _rewrite(model.graph, node, masks)
        changed += 1
    return Outcome(changed, tuple(left))


def _reason(node: ir.Node) -> str | None:
    """Why ``node`` is left; None where it fits."""
    query, key, value, mask, past_key, past_value, lengths = inputs_of(node, 7)
    if any((mask, past_key, past_value)):
        return "it has a mask or a cache of its own"
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return "more than its first output is read"
    for each in (query, key, value):
        assert each is not None
        if each.shape is None or len(each.shape) != 4:
            return f"'{each.name}' is not known to have four axes"
        if not isinstance(each.shape[1], int) or not isinstance(each.shape[3], int):
            return f"the graph does not fix heads and channels of '{each.name}'"
        if each.dtype not in _LOWEST or query is None or each.dtype != query.dtype:
            return f"'{each.name}' is {each.dtype}"
    if _size(query, 1) % _size(key, 1) or _size(key, 1) != _size(value, 1):
        return f"{_size(query, 1)} heads do not share {_size(key, 1)} keys"
    causal = 0 if lengths is None else 1
    allowed: Allowed = {
        "is_causal": (causal,),
        "scale": (node.attributes.get_float("scale", 0.0),),
        "softcap": (0.0,),
        "qk_matmul_output_mode": (0,),
        "softmax_precision": tuple(map(int, _LOWEST)),
    }
    if causal and node.attributes.get_int("is_causal", 0) != 1:
        return "it has nonpad_kv_seqlen without is_causal"
    return unexpected_attribute(node, allowed)


def _rewrite(graph: ir.Graph, node: ir.Node, masks: _Masks) -> None:
    query, key, value, *_, lengths = inputs_of(node, 7)
    assert query is not None
    assert key is not None
    write, dtype = Writer(graph, node), query.dtype
    assert dtype is not None
    heads, shared = _size(query, 1), _size(key, 1)
    scale = node.attributes.get_float("scale", 1 / math.sqrt(_size(query, 3)))
    scaled = write.op("Mul", [query, write.scalar(scale, dtype)], dtype, query.shape)
    scaled = _regroup(write, scaled, heads, shared)
    turned = write.op("Transpose", [key], dtype, perm=[0, 1, 3, 2])
    scores = _regroup(write, write.op("MatMul", [scaled, turned], dtype), shared, heads)
    if lengths is not None:
        scores = write.op("Add", [scores, _mask(write, query, key, lengths, masks)], dtype)
    precision = ir.DataType(node.attributes.get_int("softmax_precision", int(dtype)))
    wide = write.cast(scores, precision)
    weights = write.cast(write.op("Softmax", [wide], precision, axis=-1), dtype)
    weights = _regroup(write, weights, heads, shared)
    mixed = write.op("MatMul", [weights, value], dtype)
    write.finish(_regroup(write, mixed, shared, heads))


def _regroup(write: Writer, x: ir.Value, heads: int, wanted: int) -> ir.Value:
    """[B, heads, M, X] as [B, wanted, M heads / wanted, X]; in Reshape, 0 keeps an axis."""
    if heads == wanted:
        return x
    return write.op("Reshape", [x, write.integers(0, wanted, -1, 0)], x.dtype)


def _mask(
    write: Writer, query: ir.Value, key: ir.Value, lengths: ir.Value, masks: _Masks
) -> ir.Value:
    """What is added to scores [B, heads, S, C]; one for all layers of equal sizes."""
    dtype = query.dtype
    assert dtype is not None
    alike = (sizes(query, 0, 2), sizes(key, 2))
    identity = (lengths, dtype, *alike, *((query, key) if None in alike else ()))
    if identity not in masks:
        masks[identity] = _write_mask(write, query, key, lengths, dtype)
    return masks[identity]


def _write_mask(
    write: Writer, query: ir.Value, key: ir.Value, lengths: ir.Value, dtype: ir.DataType
) -> ir.Value:
    int64, boolean = ir.DataType.INT64, ir.DataType.BOOL
    new = write.size(query, 2)
    before = write.op("Sub", [write.cast(lengths, int64), new], int64)
    first = write.op("Reshape", [before, write.integers(-1, 1, 1, 1)], int64)
    steps = write.op("Reshape", [write.count(new), write.integers(1, 1, -1, 1)], int64)
    positions = write.op("Add", [first, steps], int64)
    seen = write.op("LessOrEqual", [write.count(write.size(key, 2)), positions], boolean)
    nothing, lowest = write.scalar(0.0, dtype), write.scalar(_LOWEST[dtype], dtype)
    return write.op("Where", [seen, nothing, lowest], dtype)


def _size(value: ir.Value | None, axis: int) -> int:
    assert value is not None
    assert value.shape is not None
    size = value.shape[axis]
    assert isinstance(size, int)
    return size
