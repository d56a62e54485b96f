"""Compute layer and group norms of 16-bit graphs in float32.

    LayerNormalization(x, scale, bias)   ->   Cast(LayerNormalization(Cast(x), scale, bias))

ONNX computes mean and variance in float32 (``stash_type`` 1). TensorRT's parser cannot express
that: its normalization layer reads and writes 16 bits, and the bindings of TensorRT-RTX 1.7.1 do not
say which type it sums in. The variance of 1152 channels or of a whole image in float16 loses digits
and overflows, so the type is written into the graph. RMSNormalization needs no rewrite: the parser
casts it itself.
"""

from __future__ import annotations

import onnx_ir as ir

from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import Writer, nodes_of

_NORMS = ("LayerNormalization", "GroupNormalization")
_NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def rewrite(model: ir.Model) -> Outcome:
    """Widen every 16-bit layer and group norm; report the rest and why."""
    changed, left = 0, []
    norms = [node for norm in _NORMS for node in nodes_of(model, norm)]
    for node in [norm for norm in norms if norm.outputs[0].dtype in _NARROW]:
        if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
            left.append(f"{node.name}: its mean or deviation is read")
        else:
            _widen(model.graph, node)
            changed += 1
    return Outcome(changed, tuple(left))


def _widen(graph: ir.Graph, node: ir.Node) -> None:
    write, wide = Writer(graph, node), ir.DataType.FLOAT
    dtype, shape = node.outputs[0].dtype, node.outputs[0].shape
    assert dtype is not None
    inputs = [None if value is None else write.cast(value, wide) for value in node.inputs]
    attributes = {name: one.value for name, one in node.attributes.items()}
    normed = write.op(node.op_type, inputs, wide, shape, **attributes)
    write.finish(write.cast(normed, dtype))
