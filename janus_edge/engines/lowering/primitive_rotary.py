"""RotaryEmbedding (opset 23) of two halves as plain operators.

    a, b = the halves of x;  y = Concat(a cos - b sin, a sin + b cos)   with cos, sin = Gather(table, positions)

The rows of the tables are gathered once for all layers, queries and keys that share positions.
"""

from __future__ import annotations

import onnx_ir as ir

from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import (
    Writer,
    inputs_of,
    nodes_of,
    unexpected_attribute,
)

#: Gathered rows [B, 1, S, D/2] by table and positions.
_Rows = dict[tuple[ir.Value, ir.Value], ir.Value]


def rewrite(model: ir.Model) -> Outcome:
    """Every rotation of whole heads [B, heads, S, D] by tables; others are left with the reason."""
    changed, left, rows = 0, [], _Rows()
    for node in nodes_of(model, "RotaryEmbedding"):
        reason = _reason(node)
        if reason:
            left.append(f"{node.name}: {reason}")
            continue
        _rewrite(model.graph, node, rows)
        changed += 1
    return Outcome(changed, tuple(left))


def _reason(node: ir.Node) -> str | None:
    """Why ``node`` is left; None where it fits."""
    x, cos, sin, positions = inputs_of(node, 4)
    if positions is None:
        return "it has no position ids"
    assert x is not None
    assert cos is not None
    assert sin is not None
    ranks = [None if v.shape is None else len(v.shape) for v in (x, cos, sin, positions)]
    if ranks != [4, 2, 2, 2]:
        return f"its inputs have {ranks} axes, not [4, 2, 2, 2]"
    if _half(cos) is None:
        return "the graph does not fix the size of its heads"
    if x.dtype is None or {cos.dtype, sin.dtype} != {x.dtype}:
        return f"its input is {x.dtype}, its tables are {cos.dtype} and {sin.dtype}"
    return unexpected_attribute(node, {"interleaved": (0,), "rotary_embedding_dim": (0,)})


def _rewrite(graph: ir.Graph, node: ir.Node, rows: _Rows) -> None:
    x, cos_table, sin_table, positions = inputs_of(node, 4)
    assert x is not None
    half = _half(cos_table)
    assert half is not None
    write, dtype = Writer(graph, node), x.dtype
    cos, sin = (_rows(write, table, positions, rows) for table in (cos_table, sin_table))
    a, b = _halves(write, x, half)
    real = _combine(write, "Sub", (a, cos), (b, sin))
    imaginary = _combine(write, "Add", (a, sin), (b, cos))
    write.finish(write.op("Concat", [real, imaginary], dtype, axis=-1))


def _half(table: ir.Value | None) -> int | None:
    """Half the size of a head, where the graph fixes it."""
    assert table is not None
    assert table.shape is not None
    half = table.shape[1]
    return half if isinstance(half, int) else None


def _rows(
    write: Writer, table: ir.Value | None, positions: ir.Value | None, rows: _Rows
) -> ir.Value:
    assert table is not None
    assert positions is not None
    if (table, positions) not in rows:
        gathered = write.op("Gather", [table, positions], table.dtype, axis=0)
        unsqueezed = write.op("Unsqueeze", [gathered, write.integers(1)], table.dtype)
        rows[table, positions] = unsqueezed
    return rows[table, positions]


def _halves(write: Writer, x: ir.Value, half: int) -> tuple[ir.Value, ir.Value]:
    """The first and the second half of each head."""
    zero, middle, end, last = (write.integers(i) for i in (0, half, 2 * half, -1))
    a = write.op("Slice", [x, zero, middle, last], x.dtype)
    b = write.op("Slice", [x, middle, end, last], x.dtype)
    return a, b


def _combine(
    write: Writer, op_type: str, left: tuple[ir.Value, ir.Value], right: tuple[ir.Value, ir.Value]
) -> ir.Value:
    products = [write.op("Mul", pair, pair[0].dtype) for pair in (left, right)]
    return write.op(op_type, products, left[0].dtype)
