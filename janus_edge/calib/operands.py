"""The nodes of a graph that can be quantised: MatMul, Gemm and Conv that read a constant weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from janus_edge.errors import BundleError

#: Operators, and the axis of the input along which the weight's channels lie.
_AXES = {"MatMul": -1, "Gemm": -1, "Conv": 1}


@dataclass(frozen=True, slots=True)
class Operand:
    """One such node: ``input`` and ``weight`` are the names of what it multiplies.

    ``shape`` is the weight's: [K, N] of a MatMul or Gemm, [out, in / groups, ...] of a Conv.
    ``channels`` is the size of the input's ``axis`` (-1, or 1 for a Conv).
    """

    node: str
    op_type: str
    input: str
    weight: str
    shape: tuple[int, ...]
    axis: int
    channels: int


def operands(path: Path) -> list[Operand]:
    """The quantisable nodes of the graph at ``path``, in its order; weights are not read.

    Raises BundleError for a file that is no ONNX graph.
    """
    return operands_of(load_graph(path).graph)


def operands_of(graph: onnx.GraphProto) -> list[Operand]:
    """The quantisable nodes of ``graph``.

    Not: a transposed Gemm (the exporter writes none), and the nearest-code search of the VQ
    encoder, whose codes would change with every rounded cosine.
    """
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    found = []
    for node in graph.node:
        axis = _AXES.get(node.op_type)
        if axis is None or node.input[1] not in shapes or node.input[1] == "codebook":
            continue
        if any(a.name in ("transA", "transB") and a.i for a in node.attribute):
            continue
        shape = shapes[node.input[1]]
        if len(shape) < 2:
            continue
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        channels = shape[1] * groups if node.op_type == "Conv" else shape[0]
        found.append(
            Operand(node.name, node.op_type, node.input[0], node.input[1], shape, axis, channels)
        )
    return found


def load_graph(path: Path) -> onnx.ModelProto:
    """The model at ``path`` without its weights; raises BundleError for a file that is none."""
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as damaged:  # protobuf's own exceptions, which onnx does not name
        raise BundleError(f"{path}: not an ONNX graph ({damaged}); export it again") from damaged
