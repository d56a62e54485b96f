"""What ONNX Runtime computes for each tensor of a graph, one operator at a time.

All optimisations are off: fused DequantizeLinear and MatMul would become products of 8-bit integers,
which are up to 0.4 off what the graph says.

16-bit graphs are computed with float32 in their place, and each operator's output is rounded once to
its type: what the interpreter does, and what the graph says. ONNX Runtime has few CPU kernels for
bfloat16; float16 it computes in float32 as well, but leaves out roundings between operators, which
makes sums two units in the last place different. `test_reference.py` holds this to its own float16.
What an operator would round inside itself is not seen, neither here nor there.
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
    """A graph whose every tensor is an output."""

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
        """All tensors by name; floats are float32 arrays of numbers of their types."""
        found: list[Any] = self._session.run(self._names, dict(feeds))
        return {
            name: _numbers(value, self._types[name])
            for name, value in zip(self._names, found, strict=True)
        }


def _numbers(value: Array, kind: str) -> Array:
    """FP8, of which the bits are given, as the numbers that they stand for."""
    if kind != "tensor(float8e4m3fn)":
        return value
    return value.view(FLOATS["FP8"]).astype(np.float32)


def session(model: onnx.ModelProto) -> Any:
    """A session that computes what the graph says, on one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # caches are copied here, which it warns of
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _widen(model: onnx.ModelProto) -> None:
    """float32 for 16 bits, and two casts after each operator whose output had 16 bits."""
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
    """``node`` in float32, and casts of its outputs to their types and back."""
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
