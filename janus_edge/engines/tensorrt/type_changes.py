"""Where a parsed network computes in another type than its ONNX graph says.

A network is strongly typed, so no builder changes a type after the parser; but the parser may choose
one that the graph does not have. What it chose is reported, since results may differ.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from janus_edge.engines.tensorrt.objects import INetworkDefinition

#: TensorRT's names for ONNX's types; those that differ in name only.
_NAMES = {
    "FLOAT16": "HALF",
    "BFLOAT16": "BF16",
    "FLOAT8E4M3FN": "FP8",
    "FLOAT4E2M1": "FP4",
}


def changed_types(model: onnx.ModelProto, network: INetworkDefinition) -> tuple[str, ...]:
    """Tensors and constants of ``network`` whose type is not that of ``model``, one text each."""
    types = _types(model.graph)
    found = {
        name: (types[name], dtype)
        for name, dtype in _tensors(network)
        if name in types and types[name] != dtype
    }
    return tuple(
        f"{name} is {dtype}, and {was} in the graph" for name, (was, dtype) in found.items()
    )


def quantizers_without_zero_point(model: onnx.ModelProto) -> tuple[str, ...]:
    """QuantizeLinear nodes that leave their type to ONNX's default (uint8), which TensorRT reads as int8."""
    return tuple(
        f"{node.name} has no zero point: uint8 in ONNX, int8 in TensorRT"
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and not (len(node.input) > 2 and node.input[2])
    )


def _types(graph: onnx.GraphProto) -> dict[str, str]:
    """TensorRT's name for the type of every value whose type the graph states."""
    numbers = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    numbers |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    names = {name: onnx.TensorProto.DataType.Name(number) for name, number in numbers.items()}
    return {name: _NAMES.get(one, one) for name, one in names.items()}


def _tensors(network: INetworkDefinition) -> Iterator[tuple[str, str]]:
    """Name and type of all inputs and of every layer's outputs; a constant has its layer's name."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        yield tensor.name, tensor.dtype.name
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        constant = layer.type.name == "CONSTANT"
        for position in range(layer.num_outputs):
            made = layer.get_output(position)
            if made is not None:
                yield (layer.name if constant else made.name), made.dtype.name
