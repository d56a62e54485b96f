"""Rotary embedding, cache update and attention as one GroupQueryAttention of ONNX Runtime.

    q -> Reshape -> Transpose -> RotaryEmbedding ----------------------> Attention -> Transpose -> Reshape
    k -> Reshape -> Transpose -> RotaryEmbedding -> TensorScatter(past) -> |
    v -> Reshape -> Transpose ----------------------> TensorScatter(past) -> |

becomes ``GroupQueryAttention(q, k, v, past_key, past_value, seqlens_k, total, cos, sin)``, with
``seqlens_k = past_lengths + S - 1`` and ``total`` the longest row's length. Where q, k and v are the
outputs of one Split, its input goes in packed. The operator writes the S new keys and values where
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
from janus_edge.engines.lowering.matching import Unlike, check, known, producer
from janus_edge.engines.lowering.passes import Outcome

_BSNH_TO_BNSH = [0, 2, 1, 3]

#: The CPU kernel refuses other head sizes when it rotates.
_HEAD_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class _Lengths:
    """``past`` [B] int64, ``total`` [B] = past + new, and ``new`` [], the number of new tokens."""

    past: ir.Value
    total: ir.Value
    new: ir.Value


@dataclass(frozen=True, slots=True)
class _Place:
    """One layer: ``inputs`` are q, k, v [B, S, heads * D] or all of them packed in one.

    ``nodes`` run from the inputs to ``results``: output [B, S, heads * D], present key and value.
    """

    inputs: tuple[ir.Value, ...]
    past_key: ir.Value
    past_value: ir.Value
    cos: ir.Value
    sin: ir.Value
    lengths: _Lengths
    attributes: dict[str, int | float]
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
    sizes: dict[_Lengths, _Sizes] = {}
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
    check(causal and len(attention.inputs) == 7, "it is not causal on a cache of given lengths")
    check(not any(attention.inputs[3:6]), "it has a mask, or a past of its own")
    used = [o for o in attention.outputs[1:] if o.uses() or o.is_graph_output()]
    check(not used, "more than its first output is used")
    scale = attention.attributes.get_float("scale", None)
    matching.only_attributes(attention, {"is_causal": [1], "scale": [scale]})
    query, present_key, present_value = map(known, attention.inputs[:3])
    key_scatter, value_scatter = (
        producer(present, "TensorScatter") for present in (present_key, present_value)
    )
    past_key, new_key, past = map(known, key_scatter.inputs)
    past_value, new_value, past_again = map(known, value_scatter.inputs)
    check(past is past_again, "keys and values are written at different places")
    for scatter in (key_scatter, value_scatter):
        matching.only_attributes(scatter, {"axis": [2, -2], "mode": ["linear"]})
    query_rotary, key_rotary = (
        producer(query, "RotaryEmbedding"),
        producer(new_key, "RotaryEmbedding"),
    )
    lengths = _lengths(known(attention.inputs[6]), past)
    cos, sin = _tables(query_rotary, key_rotary, lengths)
    kv_heads, head_size = matching.size(past_key, 1), matching.size(past_key, 3)
    check(
        head_size % _HEAD_MULTIPLE == 0 and matching.size(cos, 1) == head_size // 2,
        f"heads of {head_size} are not a multiple of {_HEAD_MULTIPLE} that is rotated as a whole",
    )
    nodes, inputs = [], []
    for value in (known(query_rotary.inputs[0]), known(key_rotary.inputs[0]), new_value):
        transpose, reshape, flat = _split_heads(value, head_size)
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
    nodes += [query_rotary, key_rotary, key_scatter, value_scatter, attention, back, flatten]
    results = (output, present_key, present_value)
    packed = _packing(inputs)
    if packed:
        nodes, inputs = [packed, *nodes], [known(packed.inputs[0])]
    nodes = list(dict.fromkeys(nodes))  # one projection may serve as keys and values
    _check_closed(nodes, results)
    attributes: dict[str, int | float] = {
        "num_heads": heads, "kv_num_heads": kv_heads, "do_rotary": 1,
    }  # fmt: skip
    if scale is not None:
        attributes["scale"] = scale
    return _Place(
        tuple(inputs), past_key, past_value, cos, sin, lengths, attributes, tuple(nodes), results
    )


def _lengths(total: ir.Value, past: ir.Value) -> _Lengths:
    """``total`` as past + a scalar number of new tokens."""
    operands = [known(i) for i in producer(total, "Add").inputs]
    check(
        past in operands,
        f"{matching.named(total)} is not {matching.named(past)} and the new tokens",
    )
    new = operands[1 - operands.index(past)]
    check(matching.rank(new) == 0, f"{matching.named(new)} is not one number of new tokens")
    return _Lengths(past, total, new)


def _tables(query: ir.Node, key: ir.Node, lengths: _Lengths) -> tuple[ir.Value, ir.Value]:
    """The cosines and sines of both rotations, which are at past + arange(new)."""
    check(
        list(query.inputs[1:]) == list(key.inputs[1:]), "queries and keys are rotated differently"
    )
    check(len(query.inputs) == 4, "a rotation has no positions")
    for node in (query, key):
        matching.only_attributes(
            node, {"interleaved": [0], "num_heads": [0], "rotary_embedding_dim": [0]}
        )
    cos, sin, positions = map(known, query.inputs[1:])
    check(
        matching.rank(cos) == 2
        and matching.stored(cos) is not None
        and matching.stored(sin) is not None,
        "the rotation's tables are not constants [positions, head size / 2]",
    )
    starts, steps = (known(i) for i in producer(positions, "Add").inputs)
    if not matching.is_op(starts.producer(), "Unsqueeze"):
        starts, steps = steps, starts
    column, counted = producer(starts, "Unsqueeze"), producer(steps, "Range")
    start, limit, delta = counted.inputs
    check(
        column.inputs[0] is lengths.past
        and matching.is_constant(column.inputs[1], [1])
        and matching.is_constant(start, 0)
        and limit is lengths.new
        and matching.is_constant(delta, 1),
        f"{matching.named(positions)} is not {matching.named(lengths.past)} + arange(new tokens)",
    )
    return cos, sin


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


def _rewrite(graph: ir.Graph, place: _Place, sizes: _Sizes, name: str) -> None:
    query, key, value = (*place.inputs, None, None)[:3]
    fused = ir.node(
        "GroupQueryAttention",
        [query, key, value, place.past_key, place.past_value, sizes.seqlens_k, sizes.total,
         place.cos, place.sin],
        place.attributes,
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
