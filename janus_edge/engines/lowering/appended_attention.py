"""Attention with a read-only cache: new keys and values become graph outputs.

    scores  = [scale q past_k^T, scale q new_k^T] + mask           [B, heads, S, C + S]
    weights = softmax(scores)
    y = weights[..., :C] past_v + weights[..., C:] new_v
    mask[b, 0, s, c] = 0 where c < past_lengths[b], or c >= C and c - C <= s; else the lowest number

This equals Attention (is_causal, nonpad_kv_seqlen) on the cache that TensorScatter returns, but does
not create that cache: TensorRT before 10.15 cannot update in place and would copy all of it. The
outputs ``present_key.i`` and ``present_value.i`` become ``new_key.i`` and ``new_value.i``
[B, kv_heads, S, D] (`graphs.engine_signature`). The caller writes them into the cache at
``past_lengths`` before the next call.

Every query sees its own key, so no softmax row is masked entirely, and the lowest finite number works
as well as minus infinity: a masked weight is exp(lowest - maximum) = 0. But 0 x NaN is NaN, so masked
positions of the past must be finite. The runtime zeroes a new cache, and the padding and rejected
drafts that later overwrite it come from the same graph.

Queries are scaled before the product, as in :mod:`primitive_attention`, so the cache is read once
for the scores and once for the sum, and never written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.cache_write import CacheWrite, cache_write
from janus_edge.engines.lowering.matching import Unlike, check, known
from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import LOWEST, Writer, nodes_of, regroup, sizes
from janus_edge.engines.lowering.rotary_positions import lengths_of

_LAST = 2**63 - 1  # the end of an axis, for Slice

#: Masks by past lengths, float type, query size and cache size.
_Masks = dict[tuple[object, ...], ir.Value]


@dataclass(frozen=True, slots=True)
class _Place:
    """An Attention whose cache is written at ``past_lengths`` [B]."""

    attention: ir.Node
    query: ir.Value
    key: CacheWrite
    value: CacheWrite
    past_lengths: ir.Value
    heads: int
    kv_heads: int
    scale: float
    precision: ir.DataType


def rewrite(model: ir.Model) -> Outcome:
    """Rewrite every Attention whose cache TensorScatter updates; report the rest and why."""
    changed, left, masks = 0, [], _Masks()
    for node in nodes_of(model, "Attention"):
        try:
            place = _match(node)
        except Unlike as why:
            left.append(f"{node.name}: {why}")
            continue
        _rewrite(model.graph, place, masks)
        for update in (place.key, place.value):
            _return_new(model.graph, update)
        changed += 1
    return Outcome(changed, tuple(left))


def _match(attention: ir.Node) -> _Place:
    causal = attention.attributes.get_int("is_causal", 0) == 1
    check(causal and len(attention.inputs) == 7, "it is not causal, or has no cache with lengths")
    check(not any(attention.inputs[3:6]), "it has a mask or its own past")
    used = [o for o in attention.outputs[1:] if o.uses() or o.is_graph_output()]
    check(not used, "an output other than its first is read")
    query, cached_key, cached_value = map(known, attention.inputs[:3])
    check(query.dtype in LOWEST, f"{matching.named(query)} is {query.dtype}")
    scale = attention.attributes.get_float("scale", 1 / math.sqrt(matching.size(query, 3)))
    precision = attention.attributes.get_int("softmax_precision", int(query.dtype or 0))
    matching.only_attributes(
        attention,
        {
            "is_causal": [1], "scale": [scale], "softcap": [0.0], "qk_matmul_output_mode": [0],
            "softmax_precision": [*map(int, LOWEST)],
        },
    )  # fmt: skip
    key, value = (_update(attention, cached, query.dtype) for cached in (cached_key, cached_value))
    check(key.at is value.at, "keys and values are written at different positions")
    lengths = lengths_of(known(attention.inputs[6]), key.at)
    heads, kv_heads = matching.size(query, 1), matching.size(key.past, 1)
    check(
        heads % kv_heads == 0 and matching.size(value.past, 1) == kv_heads,
        f"{heads} heads are not a multiple of {kv_heads} key heads",
    )
    return _Place(
        attention, query, key, value, lengths.past, heads, kv_heads, scale, ir.DataType(precision)
    )


def _update(attention: ir.Node, cached: ir.Value, dtype: ir.DataType | None) -> CacheWrite:
    """Match the update of keys or values that only this attention and the graph's output read."""
    found = cache_write(cached)
    new, present = found.new, found.present
    check(found.scale is None, "its cache is quantised")
    check(new.dtype == dtype, f"{matching.named(new)} is {new.dtype}")
    check(not new.is_graph_output(), f"{matching.named(new)} is an output already")
    check(
        present.is_graph_output() and (present.name or "").startswith("present_"),
        f"{matching.named(present)} is not an output present_*",
    )
    readers = {use.node for use in present.uses()}
    check(readers == {attention}, f"{matching.named(present)} is read elsewhere")
    return found


def _rewrite(graph: ir.Graph, place: _Place, masks: _Masks) -> None:
    write, query, dtype = Writer(graph, place.attention), place.query, place.query.dtype
    assert dtype is not None
    heads, shared = place.heads, place.kv_heads
    scaled = write.op("Mul", [query, write.scalar(place.scale, dtype)], dtype, query.shape)
    scaled = regroup(write, scaled, heads, shared)
    products = []
    for keys in (place.key.past, place.key.new):
        turned = write.op("Transpose", [keys], dtype, perm=[0, 1, 3, 2])
        products.append(regroup(write, write.op("MatMul", [scaled, turned], dtype), shared, heads))
    scores = write.op("Concat", products, dtype, axis=-1)
    scores = write.op("Add", [scores, _mask(write, place, masks)], dtype)
    weights = write.softmax(scores, place.precision)
    zero, axis = write.integers(0), write.integers(3)
    capacity, last = write.size(place.key.past, 2), write.integers(_LAST)
    sums = []
    for start, end, values in (
        (zero, capacity, place.value.past), (capacity, last, place.value.new),
    ):  # fmt: skip
        part = write.op("Slice", [weights, start, end, axis], dtype)
        sums.append(write.op("MatMul", [regroup(write, part, heads, shared), values], dtype))
    write.finish(regroup(write, write.op("Add", sums, dtype), shared, heads))


def _mask(write: Writer, place: _Place, masks: _Masks) -> ir.Value:
    """The mask to add to the scores, shared by layers of equal sizes."""
    dtype, query, past = place.query.dtype, place.query, place.key.past
    assert dtype is not None
    alike = (sizes(query, 0, 2), sizes(past, 2))
    identity = (place.past_lengths, dtype, *alike, *((query, past) if None in alike else ()))
    if identity not in masks:
        seen = _seen(write, place)
        nothing, lowest = write.scalar(0.0, dtype), write.scalar(LOWEST[dtype], dtype)
        masks[identity] = write.op("Where", [seen, nothing, lowest], dtype)
    return masks[identity]


def _seen(write: Writer, place: _Place) -> ir.Value:
    """Whether query s of row b attends to key c, past or new: bool [B, 1, S, C + S]."""
    int64, boolean = ir.DataType.INT64, ir.DataType.BOOL
    capacity, new = write.size(place.key.past, 2), write.size(place.query, 2)
    keys = write.count(write.op("Add", [capacity, new], int64, ir.Shape([1])))
    ends = write.op(
        "Reshape", [write.cast(place.past_lengths, int64), write.integers(-1, 1, 1, 1)], int64
    )
    filled = write.op("Less", [keys, ends], boolean)
    steps = write.op("Reshape", [write.count(new), write.integers(1, 1, -1, 1)], int64)
    offsets = write.op("Sub", [keys, capacity], int64)
    reached = write.op("LessOrEqual", [offsets, steps], boolean)
    is_new = write.op("GreaterOrEqual", [keys, capacity], boolean)
    causal = write.op("And", [is_new, reached], boolean)
    return write.op("Or", [filled, causal], boolean)


def _return_new(graph: ir.Graph, update: CacheWrite) -> None:
    """Replace the present keys or values in the graph's outputs by the new ones."""
    place = graph.outputs.index(update.present)
    assert update.present.name is not None
    update.new.name = update.present.name.replace("present_", "new_", 1)
    graph.outputs[place] = update.new
