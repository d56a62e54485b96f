"""Find where a parsed network computes in a different type from its ONNX graph.

A network is strongly typed, so the builder changes no type after parsing. But the parser may choose a
type that the graph does not have. Such changes are reported, since results may differ.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from janus_edge.engines.tensorrt.objects import INetworkDefinition

#: TensorRT's names for ONNX's types, where only the name differs.
_NAMES = {
    "FLOAT16": "HALF",
    "BFLOAT16": "BF16",
    "FLOAT8E4M3FN": "FP8",
    "FLOAT4E2M1": "FP4",
}


def changed_types(model: onnx.ModelProto, network: INetworkDefinition) -> tuple[str, ...]:
    """List tensors and constants of ``network`` whose type differs from ``model``'s."""
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
    """QuantizeLinear nodes without a type: ONNX defaults to uint8, TensorRT to int8."""
    return tuple(
        f"{node.name} has no zero point: uint8 in ONNX, int8 in TensorRT"
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and not (len(node.input) > 2 and node.input[2])
    )


def _types(graph: onnx.GraphProto) -> dict[str, str]:
    """Return TensorRT's type name of every value whose type the graph states."""
    numbers = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    numbers |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    names = {name: onnx.TensorProto.DataType.Name(number) for name, number in numbers.items()}
    return {name: _NAMES.get(one, one) for name, one in names.items()}


def _tensors(network: INetworkDefinition) -> Iterator[tuple[str, str]]:
    """Yield the name and type of inputs and layer outputs; a constant has its layer's name."""
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
