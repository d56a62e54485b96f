"""RMSNormalization (opset 23) as plain operators, in float32 whatever the graph's float type is.

    x32 = Cast(x);  y = Mul(Cast(Div(x32, Sqrt(Add(ReduceMean(Mul(x32, x32)), epsilon)))), scale)

The order of ONNX's definition with ``stash_type`` 1: the normalised values return to the type of
``x`` before they are scaled. The square of a float16 value above 255 is no float16 number, so the
casts are part of the operator. TensorRT fuses the chain into one kernel.
"""

from __future__ import annotations

import onnx_ir as ir

from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.primitives import Writer, nodes_of

_DEFAULT_EPSILON = 1e-5


def rewrite(model: ir.Model) -> Outcome:
    """Every RMSNormalization with ``stash_type`` 1; others are left with the reason."""
    changed, left = 0, []
    for node in nodes_of(model, "RMSNormalization"):
        axes = _axes(node)
        if isinstance(axes, str):
            left.append(f"{node.name}: {axes}")
            continue
        _rewrite(model.graph, node, axes)
        changed += 1
    return Outcome(changed, tuple(left))


def _axes(node: ir.Node) -> tuple[int, ...] | str:
    """The axes of the mean, counted from the last; or why the node is left."""
    x, scale = node.inputs
    assert x is not None
    assert scale is not None
    if node.attributes.get_int("stash_type", 1) != ir.DataType.FLOAT:
        return "stash_type is another than 1: what it computes in is not float32"
    if x.dtype is None or x.dtype != scale.dtype:
        return f"the input is {x.dtype} and the scale {scale.dtype}, not one known type"
    axis = node.attributes.get_int("axis", -1)
    if axis >= 0:
        if x.shape is None:
            return f"axis {axis} counts from the front of an input whose rank is not known"
        axis -= len(x.shape)
    return tuple(range(axis, 0))


def _rewrite(graph: ir.Graph, node: ir.Node, axes: tuple[int, ...]) -> None:
    x, scale = node.inputs
    assert x is not None
    assert x.dtype is not None
    write, single = Writer(graph, node), ir.DataType.FLOAT
    epsilon = node.attributes.get_float("epsilon", _DEFAULT_EPSILON)
    wide = write.cast(x, single)
    squares = write.op("Mul", [wide, wide], single, x.shape)
    mean = write.op("ReduceMean", [squares, write.integers(*axes)], single, keepdims=1)
    shifted = write.op("Add", [mean, write.scalar(epsilon, single)], single)
    rms = write.op("Sqrt", [shifted], single)
    normalised = write.cast(write.op("Div", [wide, rms], single, x.shape), x.dtype)
    write.finish(write.op("Mul", [normalised, scale], x.dtype))
