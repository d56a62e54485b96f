"""The part of a graph that leads to one of its values, as a graph of its own, with fixed shapes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from janus_edge.errors import EngineError

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True, slots=True)
class Value:
    """A floating-point value of a graph, and the node that makes it."""

    name: str
    node: str
    op_type: str


def float_values(model: onnx.ModelProto) -> tuple[Value, ...]:
    """The floating-point values that the exporter stated, in the order in which they are made.

    What a quantiser or a rewrite added has no stated type and is left out.
    """
    graph = model.graph
    stated = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type in _FLOATS
    }
    return tuple(
        Value(output, node.name, node.op_type)
        for node in graph.node
        for output in node.output
        if output in stated
    )


def read_graph(path: Path) -> onnx.ModelProto:
    """The graph at ``path`` without its weights; raises EngineError for a file that is none."""
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as invalid:  # onnx raises protobuf's own, which have no common base
        raise EngineError(
            f"{path}: not an ONNX graph ({invalid}); check the bundle with `janus-edge verify`, or "
            "export it again"
        ) from invalid


def cut(
    model: onnx.ModelProto, value: str, shapes: Mapping[str, tuple[int, ...]]
) -> onnx.ModelProto:
    """``model`` up to ``value``, its first output; inputs have ``shapes``.

    The graph's own outputs that are made on the way stay outputs: TensorRT wants an updated cache to
    be one. Fixed shapes need no optimisation profile, and TensorRT takes no cache of varying length.
    Raises EngineError where no node makes ``value``.
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    if value not in makers:
        raise EngineError(
            f"graph '{graph.name}' makes no value called {value!r}; give one it makes"
        )
    needed, wanted = set[str](), [value]
    while wanted:
        name = wanted.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers:
            wanted += [one for one in makers[name].input if one]
    types = {one.name: one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.output)}
    inputs = [
        helper.make_tensor_value_info(one.name, one.type.tensor_type.elem_type, shapes[one.name])
        for one in graph.input
        if one.name in needed
    ]
    kept = [one for one in graph.output if one.name in needed and one.name != value]
    made = helper.make_graph(
        [node for node in graph.node if needed.intersection(node.output)],
        graph.name,
        inputs,
        [helper.make_tensor_value_info(value, types[value], None), *kept],
        [tensor for tensor in graph.initializer if tensor.name in needed],
    )
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)


def save_beside(model: onnx.ModelProto, origin: Path, folder: Path, name: str) -> Path:
    """Write ``model`` to ``folder``, with the weight files of ``origin`` that it refers to.

    ONNX Runtime reads no weights outside a graph's folder: they are linked into it (copied where the
    file systems differ). Remove the folder afterwards: onnx refuses weights that have several links.
    """
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for place in places:
        target = folder / place
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(origin.parent / place, target)
        except OSError:
            shutil.copyfile(origin.parent / place, target)
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return path
