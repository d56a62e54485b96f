"""Where the language model's new tokens stand: their positions, and how they are rotated there."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import check, known, producer


@dataclass(frozen=True, slots=True)
class Lengths:
    """``past`` [B] int64, ``total`` [B] = past + new, and ``new`` [], the number of new tokens."""

    past: ir.Value
    total: ir.Value
    new: ir.Value


def lengths_of(total: ir.Value, past: ir.Value) -> Lengths:
    """``total`` as past + a scalar number of new tokens."""
    operands = [known(i) for i in producer(total, "Add").inputs]
    check(
        past in operands,
        f"{matching.named(total)} is not {matching.named(past)} and the new tokens",
    )
    new = operands[1 - operands.index(past)]
    check(matching.rank(new) == 0, f"{matching.named(new)} is not one number of new tokens")
    return Lengths(past, total, new)


def tables_of(query: ir.Node, key: ir.Node, lengths: Lengths) -> tuple[ir.Value, ir.Value]:
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
