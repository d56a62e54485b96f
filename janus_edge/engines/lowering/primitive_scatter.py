"""TensorScatter (opset 24) as ScatterND without reduction, which writes rows of a cache in place.

    present = ScatterND(past, indices, update)    indices[b, h, s] = (b, h, write_indices[b] + s)

Each index names one row of ``head_dim`` values, so the index tensor is small (24 bytes for a row)
and is computed once for all layers. ScatterElements would need an index per value; a Where would
read and write the whole cache even where past and present are one buffer; a Concat grows.

Past and present in one buffer. ScatterND is "copy the data, then overwrite rows": with one buffer
the copy reads and writes each address alone and changes nothing, and no row is read after it was
written, because the only reader of ``past`` is the ScatterND itself (a Shape reads no values) and
attention reads ``present``. So the result does not depend on the order in which an engine copies
and overwrites. TensorRT before 10.15 has no declared aliasing of bindings (that came with
IKVCacheUpdateLayer): it does not promise this, and may still copy the cache onto itself, which
costs time but no correctness. Whoever builds engines must try it on the device, and fall back to
two buffers in turn (past of a step is the present of the step before) where it fails.

Opset 16 to 24 mean the same without the attribute ``reduction``, and TensorRT's parser before 10.9
refuses a node that has the attribute at all.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import (
    Writer,
    inputs_of,
    nodes_of,
    sizes,
    unexpected_attribute,
)

#: Index tensors by write indices and sizes of the update.
_Indices = dict[tuple[ir.Value, tuple[object, ...]], ir.Value]


def rewrite(model: ir.Model) -> Outcome:
    """Every linear scatter along axis 2 of a cache [B, heads, C, D]; others are left with the reason."""
    changed, left, indices = 0, [], _Indices()
    for node in nodes_of(model, "TensorScatter"):
        reason = _reason(node)
        if reason:
            left.append(f"{node.name}: {reason}")
            continue
        _rewrite(model.graph, node, indices)
        changed += 1
    return Outcome(changed, tuple(left))


def _reason(node: ir.Node) -> str | None:
    """Why ``node`` is left; None where it fits."""
    past, update, start = inputs_of(node, 3)
    if start is None:
        return "it has no write indices"
    assert past is not None
    assert update is not None
    for value in (past, update):
        if value.shape is None or len(value.shape) != 4:
            return f"'{value.name}' is not known to have four axes"
    assert update.shape is not None
    if not isinstance(update.shape[1], int):
        return f"the graph does not fix the number of heads of '{update.name}'"
    return unexpected_attribute(node, {"axis": (2, -2), "mode": ("linear",)})


def _rewrite(graph: ir.Graph, node: ir.Node, indices: _Indices) -> None:
    past, update, start = inputs_of(node, 3)
    assert past is not None
    assert update is not None
    assert start is not None
    write = Writer(graph, node)
    identity = (start, sizes(update, 0, 1, 2) or (update,))
    if identity not in indices:
        indices[identity] = _write_indices(write, update, start)
    scattered = write.op("ScatterND", [past, indices[identity], update], past.dtype)
    write.finish(scattered)


def _write_indices(write: Writer, update: ir.Value, start: ir.Value) -> ir.Value:
    """Batch, head and position of each row of ``update`` [B, heads, S, D]: int64 [B, heads, S, 3]."""
    int64 = ir.DataType.INT64
    assert update.shape is not None
    heads = update.shape[1]
    assert isinstance(heads, int)
    rows, new = write.size(update, 0), write.size(update, 2)
    batch = write.op("Reshape", [write.count(rows), write.integers(-1, 1, 1, 1)], int64)
    head = write.constant(f"heads_{heads}", np.arange(heads, dtype=np.int64).reshape(1, -1, 1, 1))
    first = write.op("Reshape", [write.cast(start, int64), write.integers(-1, 1, 1, 1)], int64)
    steps = write.op("Reshape", [write.count(new), write.integers(1, 1, -1, 1)], int64)
    position = write.op("Add", [first, steps], int64)
    one = write.integers(1)
    shape = write.op("Concat", [rows, write.integers(heads), new, one], int64, axis=0)
    parts = [write.op("Expand", [part, shape], int64) for part in (batch, head, position)]
    return write.op("Concat", parts, int64, axis=-1)
