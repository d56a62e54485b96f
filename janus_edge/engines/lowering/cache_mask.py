"""Attention over a KV cache (opset 24) with an explicit mask instead of lengths.

    Attention(q, k, v, nonpad_kv_seqlen = lengths, is_causal)   ->   Attention(q, k, v, seen)
        seen[b, 0, s, c] = c < lengths[b] - S + s + 1           bool [B, 1, S, C]

TensorRT's ONNX parser (TensorRT-RTX 1.7.1) reads Attention's first six inputs and drops the seventh,
``nonpad_kv_seqlen``, without a message; ``is_causal`` becomes a mask aligned to the upper left. A
prefill is then right, but every later step attends to position 0 alone. An explicit mask carries the
same information in an input that the parser reads. All layers share one mask.

Alternative not used: the network's own ``key_value_lengths`` with a mask aligned to the lower right.
It builds, but NVIDIA's Model-Connect removed it because of wrong tokens (issues 955, 1035, 1048).
"""

from __future__ import annotations

import onnx_ir as ir

from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import (
    Writer,
    inputs_of,
    nodes_of,
    sizes,
    unexpected_attribute,
)

#: Masks by lengths, S and C.
_Masks = dict[tuple[object, ...], ir.Value]


def rewrite(model: ir.Model) -> Outcome:
    """Replace the lengths of every causal Attention over a cache; report the rest and why."""
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
    """Why ``node`` is left as it is; None if it fits."""
    query, key, _, mask, past_key, past_value, lengths = inputs_of(node, 7)
    if lengths is None:
        return "it has no nonpad_kv_seqlen"
    if any((mask, past_key, past_value)):
        return "it has a mask or its own cache"
    if node.attributes.get_int("is_causal", 0) != 1:
        return "it has nonpad_kv_seqlen without is_causal"
    for each in (query, key):
        if each is None or each.shape is None or len(each.shape) != 4:
            return f"'{each.name if each else 'an input'}' is not known to have four axes"
    scale = node.attributes.get_float("scale", 0.0)
    return unexpected_attribute(node, {"is_causal": (1,), "scale": (scale,)})


def _rewrite(graph: ir.Graph, node: ir.Node, masks: _Masks) -> None:
    query, key, *_, lengths = inputs_of(node, 7)
    assert query is not None
    assert key is not None
    assert lengths is not None
    alike = (sizes(query, 0, 2), sizes(key, 2))
    identity = (lengths, *alike, *((query, key) if None in alike else ()))
    if identity not in masks:
        masks[identity] = _seen(Writer(graph, node), query, key, lengths)
    node.resize_inputs(4)
    node.replace_input_with(3, masks[identity])
    del node.attributes["is_causal"]


def _seen(write: Writer, query: ir.Value, key: ir.Value, lengths: ir.Value) -> ir.Value:
    """Which keys each new token attends to: bool [B, 1, S, C].

    It uses Less, because the parser turns LessOrEqual into three layers.
    """
    int64, boolean = ir.DataType.INT64, ir.DataType.BOOL
    assert query.shape is not None
    assert key.shape is not None
    new = write.size(query, 2)
    before = write.op("Sub", [write.cast(lengths, int64), new], int64)
    first = write.op("Add", [before, write.scalar(1, int64)], int64)
    first = write.op("Reshape", [first, write.integers(-1, 1, 1, 1)], int64)
    steps = write.op("Reshape", [write.count(new), write.integers(1, 1, -1, 1)], int64)
    ends = write.op("Add", [first, steps], int64)
    keys = write.count(write.size(key, 2))
    shape = ir.Shape([query.shape[0], 1, query.shape[2], key.shape[2]])
    return write.op("Less", [keys, ends], boolean, shape)
