"""Rotary embedding, cache update and attention as one GroupQueryAttention of ONNX Runtime.

    q -> Reshape -> Transpose -> RotaryEmbedding ----------------------> Attention -> Transpose -> Reshape
    k -> Reshape -> Transpose -> RotaryEmbedding -> TensorScatter(past) -> |
    v -> Reshape -> Transpose ----------------------> TensorScatter(past) -> |

becomes ``GroupQueryAttention(q, k, v, past_key, past_value, seqlens_k, total, cos, sin)``, with
``seqlens_k = past_lengths + S - 1`` and ``total`` the longest row's length. Where q, k and v are the
outputs of one Split, its input goes in packed. An int8 cache (``cache_write.py``) goes in with its
scales. The operator writes the S new keys and values where
past and present are one buffer, and copies the past first where they are not.

ONNX Runtime's CPU kernel (1.31) takes S > 1 new tokens behind a past in one row only ("batch_size
must be 1 when sequence_length > 1 and past context is given"). The operator therefore stands in an
``If``, and several tokens for several rows of which one has a past run the standard nodes as before:

    S == 1, or one row, or no row has a past   ->   GroupQueryAttention
    else                                       ->   the nodes of the canonical graph

Head sizes that are not multiples of 16 are left alone: the kernel refuses them with rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.cache_write import CacheWrite, cache_write, float_scale
from janus_edge.engines.lowering.matching import Unlike, check, known, producer
from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.rotary_positions import Lengths, lengths_of, tables_of

_BSNH_TO_BNSH = [0, 2, 1, 3]

#: The CPU kernel refuses other head sizes when it rotates.
_HEAD_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class _Place:
    """One layer: ``inputs`` are q, k, v [B, S, heads * D] or all of them packed in one.

    ``nodes`` run from the inputs to ``results``: output [B, S, heads * D], present key and value.
    """

    inputs: tuple[ir.Value, ...]
    key: CacheWrite
    value: CacheWrite
    cos: ir.Value
    sin: ir.Value
    lengths: Lengths
    attributes: dict[str, int | float | str]
    nodes: tuple[ir.Node, ...]
    results: tuple[ir.Value, ir.Value, ir.Value]


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What the operator wants to know: seqlens_k [B] int32, total [] int32; and whether it fits."""

    seqlens_k: ir.Value
    total: ir.Value
    fits: ir.Value


def rewrite(model: ir.Model) -> Outcome:
    """Every Attention on a cache that TensorScatter updates; others are left with the reason."""
    changed, left = 0, []
    sizes: dict[Lengths, _Sizes] = {}
    for node in [n for n in model.graph if matching.is_op(n, "Attention")]:
        try:
            place = _match(node)
        except Unlike as why:
            left.append(f"{node.name}: {why}")
            continue
        if place.lengths not in sizes:
            sizes[place.lengths] = _add_sizes(model.graph, place)
        _rewrite(model.graph, place, sizes[place.lengths], node.name or "attention")
        changed += 1
    if changed:
        model.opset_imports[matching.MICROSOFT] = 1
    return Outcome(changed, tuple(left))


def _match(attention: ir.Node) -> _Place:
    causal = attention.attributes.get_int("is_causal", 0) == 1
    check(causal and len(attention.inputs) == 7, "it is not causal, or has no cache with lengths")
    check(not any(attention.inputs[3:6]), "it has a mask or its own past")
    used = [o for o in attention.outputs[1:] if o.uses() or o.is_graph_output()]
    check(not used, "an output other than its first is used")
    scale = attention.attributes.get_float("scale", None)
    matching.only_attributes(attention, {"is_causal": [1], "scale": [scale]})
    query, cached_key, cached_value = map(known, attention.inputs[:3])
    key, value = cache_write(cached_key), cache_write(cached_value)
    check(key.at is value.at, "keys and values are written at different positions")
    check((key.scale is None) == (value.scale is None), "only keys or only values are quantised")
    query_rotary, key_rotary = (
        producer(query, "RotaryEmbedding"),
        producer(key.new, "RotaryEmbedding"),
    )
    lengths = lengths_of(known(attention.inputs[6]), key.at)
    cos, sin = tables_of(query_rotary, key_rotary, lengths)
    kv_heads, head_size = matching.size(key.past, 1), matching.size(key.past, 3)
    check(
        head_size % _HEAD_MULTIPLE == 0 and matching.size(cos, 1) == head_size // 2,
        f"heads of {head_size} are not a multiple of {_HEAD_MULTIPLE} that is rotated as a whole",
    )
    nodes, inputs = [], []
    for heads_first in (known(query_rotary.inputs[0]), known(key_rotary.inputs[0]), value.new):
        transpose, reshape, flat = _split_heads(heads_first, head_size)
        nodes += [reshape, transpose]
        inputs.append(flat)
    heads = matching.size(inputs[0], 2) // head_size
    check(
        heads % kv_heads == 0
        and all(matching.size(i, 2) == kv_heads * head_size for i in inputs[1:]),
        "keys and values have other heads than the cache",
    )
    back = matching.only_reader(attention.outputs[0], "Transpose")
    matching.only_attributes(back, {"perm": [_BSNH_TO_BNSH]})
    flatten = matching.only_reader(back.outputs[0], "Reshape")
    output = flatten.outputs[0]
    check(
        matching.rank(output) == 3 and matching.size(output, 2) == heads * head_size,
        f"{matching.named(output)} is not [B, S, heads * head size]",
    )
    nodes += [query_rotary, key_rotary, *key.nodes, *value.nodes, attention, back, flatten]
    results = (output, key.present, value.present)
    packed = _packing(inputs)
    if packed:
        nodes, inputs = [packed, *nodes], [known(packed.inputs[0])]
    nodes = list(dict.fromkeys(nodes))  # one projection may serve as keys and values
    _check_closed(nodes, results)
    attributes: dict[str, int | float | str] = {
        "num_heads": heads, "kv_num_heads": kv_heads, "do_rotary": 1,
    }  # fmt: skip
    if scale is not None:
        attributes["scale"] = scale
    return _Place(tuple(inputs), key, value, cos, sin, lengths, attributes, tuple(nodes), results)


def _split_heads(value: ir.Value, head_size: int) -> tuple[ir.Node, ir.Node, ir.Value]:
    """The Transpose and Reshape that make ``value`` [B, heads, S, D] of the third, [B, S, heads * D]."""
    transpose = producer(value, "Transpose")
    matching.only_attributes(transpose, {"perm": [_BSNH_TO_BNSH]})
    split = known(transpose.inputs[0])
    reshape = producer(split, "Reshape")
    flat = known(reshape.inputs[0])
    check(
        matching.rank(flat) == 3
        and matching.rank(split) == 4
        and matching.size(split, 3) == head_size
        and matching.size(split, 2) * head_size == matching.size(flat, 2),
        f"{matching.named(split)} is not [B, S, heads, {head_size}] of [B, S, heads * {head_size}]",
    )
    return transpose, reshape, flat


def _packing(inputs: list[ir.Value]) -> ir.Node | None:
    """The Split that has exactly q, k and v as its outputs, in this order and for nobody else."""
    node = inputs[0].producer()
    if node is None or not matching.is_op(node, "Split") or list(node.outputs) != inputs:
        return None
    lonely = all(len(i.uses()) == 1 and not i.is_graph_output() for i in inputs)
    return node if lonely and node.attributes.get_int("axis", 0) in (-1, 2) else None


def _check_closed(nodes: list[ir.Node], results: tuple[ir.Value, ...]) -> None:
    inside = set(nodes)
    for value in (o for node in nodes for o in node.outputs if o not in results):
        outside = [use.node for use in value.uses() if use.node not in inside]
        check(
            not outside and not value.is_graph_output(),
            f"{matching.named(value)} is read elsewhere",
        )


def _add_sizes(graph: ir.Graph, place: _Place) -> _Sizes:
    """The nodes that all layers of these lengths share, before the first of them."""
    lengths, nodes = place.lengths, list[ir.Node]()
    stem = f"{lengths.total.name}.attention"

    def add(op: str, *inputs: ir.Value, name: str, **attributes: int) -> ir.Value:
        node = ir.node(op, inputs, attributes, name=f"{stem}/{name}")
        node.outputs[0].name = f"{stem}.{name}"
        nodes.append(node)
        return node.outputs[0]

    one = matching.add_initializer(graph, f"{stem}.one", np.array(1, np.int64))
    longest = add("ReduceMax", lengths.total, name="longest", keepdims=0)
    last = add("Sub", lengths.total, one, name="last")
    rows = add("Size", lengths.past, name="rows")
    one_of_either = add(
        "Or", add("Equal", lengths.new, one, name="one_token"), add("Equal", rows, one, name="one_row"),
        name="one_of_either",
    )  # fmt: skip
    no_past = add("Equal", longest, lengths.new, name="no_past")
    int32 = int(ir.DataType.INT32)
    made = _Sizes(
        add("Cast", last, name="seqlens_k", to=int32),
        add("Cast", longest, name="total_sequence_length", to=int32),
        add("Or", one_of_either, no_past, name="fits"),
    )
    graph.insert_before(place.nodes[0], nodes)
    return made


def _quantisation(
    graph: ir.Graph, place: _Place
) -> tuple[list[ir.Value | None], dict[str, int | float | str]]:
    """The operator's inputs behind the rotation's tables, and attributes, for a cache of integers."""
    if place.key.scale is None or place.value.scale is None:
        return [], {}
    scales = [float_scale(graph, scale) for scale in (place.key.scale, place.value.scale)]
    kinds: dict[str, int | float | str] = {f"{which}_quant_type": "PER_CHANNEL" for which in "kv"}
    return [None, None, None, *scales], {**kinds, "kv_cache_bit_width": 8}


def _rewrite(graph: ir.Graph, place: _Place, sizes: _Sizes, name: str) -> None:
    query, key, value = (*place.inputs, None, None)[:3]
    scales, quantisation = _quantisation(graph, place)
    fused = ir.node(
        "GroupQueryAttention",
        [query, key, value, place.key.past, place.value.past, sizes.seqlens_k, sizes.total,
         place.cos, place.sin, *scales],
        place.attributes | quantisation,
        domain=matching.MICROSOFT, name=f"{name}/GroupQueryAttention",
        outputs=[matching.take_over(r, f"{r.name}.fused") for r in place.results],
    )  # fmt: skip
    copies: dict[ir.Value | None, ir.Value | None] = {}
    nodes = [matching.copy_of(node, copies, ".standard") for node in place.nodes]
    standard = [known(copies[r]) for r in place.results]
    choice = ir.node(
        "If",
        [sizes.fits],
        {
            "then_branch": ir.Graph([], fused.outputs, nodes=[fused], name=f"{name}/fused"),
            "else_branch": ir.Graph([], standard, nodes=nodes, name=f"{name}/standard"),
        },
        name=f"{name}/If", outputs=[matching.take_over(r) for r in place.results],
    )  # fmt: skip
    graph.insert_before(place.nodes[-1], choice)
    matching.replace(place.results, choice.outputs)
    graph.remove(place.nodes, safe=True)
