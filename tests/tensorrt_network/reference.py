"""Compute each tensor of a graph with ONNX Runtime, one operator at a time.

All optimisations are off: otherwise DequantizeLinear and MatMul are fused into products of 8-bit
integers, which are up to 0.4 off what the graph says.

16-bit graphs are computed in float32, and each operator's output is rounded once to its type. The
interpreter does the same, and so does the graph by definition. ONNX Runtime has few CPU kernels for
bfloat16. It computes float16 in float32 as well, but skips roundings between operators, which changes
sums by two units in the last place. `test_reference.py` compares this reference with ONNX Runtime's own
float16. Neither side shows what an operator would round inside itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.tensorrt_network.data_types import FLOATS, Array

_FLOAT = onnx.TensorProto.FLOAT
_NARROW = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


class Reference:
    """A graph that outputs every tensor."""

    def __init__(self, graph_file: Path) -> None:
        model = onnx.load(str(graph_file))
        graph = model.graph
        self._names = [name for node in graph.node for name in node.output if name]
        _widen(model)
        ports = {value.name for value in graph.output}
        graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name)
            for name in self._names
            if name not in ports
        )
        self._session = session(model)
        self._types = {value.name: value.type for value in self._session.get_outputs()}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return all tensors by name; floats are float32 arrays of numbers of their types."""
        found: list[Any] = self._session.run(self._names, dict(feeds))
        return {
            name: _numbers(value, self._types[name])
            for name, value in zip(self._names, found, strict=True)
        }


def _numbers(value: Array, kind: str) -> Array:
    """Return the numbers that FP8 bits stand for."""
    if kind != "tensor(float8e4m3fn)":
        return value
    return value.view(FLOATS["FP8"]).astype(np.float32)


def session(model: onnx.ModelProto) -> Any:
    """Return a session that computes what the graph says, on one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # it warns that caches are copied here
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _widen(model: onnx.ModelProto) -> None:
    """Use float32 for 16-bit types, and add two casts after each operator with a 16-bit output."""
    graph = model.graph
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    narrow = {
        value.name: value.type.tensor_type.elem_type
        for value in (*typed.value_info, *typed.output)
        if value.type.tensor_type.elem_type in _NARROW
    }
    for tensor in graph.initializer:
        if tensor.data_type in _NARROW:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _NARROW:
            value.type.tensor_type.elem_type = _FLOAT
    del graph.value_info[:]
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        graph.node.extend(_rounding(node, narrow))


def _rounding(node: onnx.NodeProto, narrow: Mapping[str, int]) -> list[onnx.NodeProto]:
    """Return ``node`` in float32, with its outputs cast to their types and back."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    for attribute in made.attribute:
        if attribute.name in ("to", "output_dtype") and attribute.i in _NARROW:
            attribute.i = _FLOAT
    found = [made]
    for index, name in enumerate(node.output):
        if name in narrow:
            wide, rounded = f"{name}.wide", f"{name}.rounded"
            made.output[index] = wide
            found += [
                onnx.helper.make_node("Cast", [wide], [rounded], to=narrow[name]),
                onnx.helper.make_node("Cast", [rounded], [name], to=_FLOAT),
            ]
    return found
