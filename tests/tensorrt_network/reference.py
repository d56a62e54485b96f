"""What ONNX Runtime computes for each tensor of a graph, one operator at a time.

All optimisations are off: fused DequantizeLinear and MatMul would become products of 8-bit integers,
which are up to 0.4 off what the graph says.

ONNX Runtime has few CPU kernels for bfloat16. Such a graph is computed with float32 in its place, and
each operator's output is rounded once to bfloat16: what the interpreter does, and what a graph in
bfloat16 means. What an operator rounds inside itself is not seen, neither here nor there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.tensorrt_network.data_types import Array

_FLOAT, _BRAIN = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16


class Reference:
    """A graph whose every tensor is an output."""

    def __init__(self, graph_file: Path) -> None:
        model = onnx.load(str(graph_file))
        graph = model.graph
        self._names = [name for node in graph.node for name in node.output if name]
        if _brain(model):
            _widen(model)
        ports = {value.name for value in graph.output}
        graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name)
            for name in self._names
            if name not in ports
        )
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3  # caches are copied here, which it warns of
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._types = {value.name: value.type for value in self._session.get_inputs()}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All tensors by name; floats are float32 arrays, as the interpreter's are."""
        given = {
            name: value.astype(np.float16) if self._types[name] == "tensor(float16)" else value
            for name, value in feeds.items()
        }
        found: list[Any] = self._session.run(self._names, given)
        return {
            name: value.astype(np.float32) if value.dtype.kind == "f" else value
            for name, value in zip(self._names, found, strict=True)
        }


def _brain(model: onnx.ModelProto) -> bool:
    """Whether the graph computes in bfloat16."""
    graph = model.graph
    types = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    return _BRAIN in types | {tensor.data_type for tensor in graph.initializer}


def _widen(model: onnx.ModelProto) -> None:
    """float32 for bfloat16, and two casts after each operator whose output was bfloat16."""
    graph = model.graph
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    brain = {
        value.name
        for value in (*typed.value_info, *typed.output)
        if value.type.tensor_type.elem_type == _BRAIN
    }
    for tensor in graph.initializer:
        if tensor.data_type == _BRAIN:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == _BRAIN:
            value.type.tensor_type.elem_type = _FLOAT
    del graph.value_info[:]
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in ("to", "output_dtype") and attribute.i == _BRAIN:
                attribute.i = _FLOAT
        graph.node.append(node)
        added = graph.node[-1]
        for index, name in enumerate(node.output):
            if name in brain:
                wide, rounded = f"{name}.float32", f"{name}.bfloat16"
                added.output[index] = wide
                graph.node.append(onnx.helper.make_node("Cast", [wide], [rounded], to=_BRAIN))
                graph.node.append(onnx.helper.make_node("Cast", [rounded], [name], to=_FLOAT))
