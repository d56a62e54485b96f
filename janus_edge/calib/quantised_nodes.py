"""Standard ONNX nodes for quantised weights and inputs.

    W [K, N]          ->  DequantizeLinear(W.quantized, W.scale)
    W in nvfp4        ->  DequantizeLinear(W.quantized, DequantizeLinear(W.scale.quantized, W.scale.unit))
    X (scheme.inputs) ->  DequantizeLinear(QuantizeLinear(X, X.scale))

ONNX Runtime and TensorRT read the same file. Every int8 zero point is written out, because
ONNX Runtime's exact products on x86 need it (``session.x64quantprecision``). An fp8 input also has
one, because it states the type. Other symmetric types have none.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from janus_edge.calib.graph_weights import WeightWriter, stored_scales
from janus_edge.calib.number_formats import NumberFormat
from janus_edge.calib.nvfp4 import stored_scales as stored_multiples
from janus_edge.calib.operands import Operand
from janus_edge.calib.quantized_weight import QuantizedWeight


def weight_tensors(
    weight: QuantizedWeight, original: TensorProto, writer: WeightWriter
) -> list[TensorProto]:
    """Return the initializers that replace ``original``; scales have its float type."""
    name, float_type = original.name, original.data_type
    tensors = [writer.numbers(f"{name}.quantized", weight.values, weight.bits)]
    if weight.scale_unit is not None:
        unit = np.array(weight.scale_unit, np.float32)
        tensors += [
            writer.numbers(f"{name}.scale.quantized", stored_multiples(weight), 8),
            writer.floats(f"{name}.scale.unit", unit, float_type),
        ]
    else:
        tensors.append(
            writer.floats(f"{name}.scale", stored_scales(weight, float_type), float_type)
        )
    zeros = _zero_points(weight)
    if zeros is not None:
        tensors.append(writer.numbers(f"{name}.zero_point", zeros, weight.bits))
    return tensors


def weight_nodes(weight: QuantizedWeight, operand: Operand) -> list[onnx.NodeProto]:
    """Return the nodes that compute ``NAME.dequantized`` from these initializers."""
    name, nodes = operand.weight, list[onnx.NodeProto]()
    if weight.scale_unit is not None:
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [f"{name}.scale.quantized", f"{name}.scale.unit"],
                [f"{name}.scale"], name=f"{name}.scale/DequantizeLinear",
            )
        )  # fmt: skip
    inputs = [f"{name}.quantized", f"{name}.scale"]
    if _zero_points(weight) is not None:
        inputs.append(f"{name}.zero_point")
    blocked = {"block_size": weight.block} if weight.block else {}
    nodes.append(
        helper.make_node(
            "DequantizeLinear", inputs, [f"{name}.dequantized"],
            name=f"{name}/DequantizeLinear", axis=weight.axis, **blocked,
        )
    )  # fmt: skip
    return nodes


def input_tensors(
    operand: Operand,
    scale: NDArray[np.float32],
    numbers: NumberFormat,
    float_type: int,
    writer: WeightWriter,
) -> list[TensorProto]:
    """The scale and zero point of an input."""
    zero = np.zeros((), numbers.dtype)
    return [
        writer.floats(f"{operand.input}.scale", scale, float_type),
        writer.numbers(f"{operand.input}.zero_point", zero, 8),
    ]


def input_nodes(operand: Operand) -> list[onnx.NodeProto]:
    """The Q/DQ pair before the input of one node."""
    parameters = [f"{operand.input}.scale", f"{operand.input}.zero_point"]
    stem = f"{operand.node}/input"
    return [
        helper.make_node(
            "QuantizeLinear", [operand.input, *parameters], [f"{stem}.quantized"],
            name=f"{stem}/QuantizeLinear",
        ),
        helper.make_node(
            "DequantizeLinear", [f"{stem}.quantized", *parameters], [f"{stem}.dequantized"],
            name=f"{stem}/DequantizeLinear",
        ),
    ]  # fmt: skip


def _zero_points(weight: QuantizedWeight) -> NDArray[np.int8] | None:
    """The weight's zero points: zeros for symmetric int8, none for other symmetric types."""
    if weight.zero_points is None and weight.integer and weight.bits == 8:
        return np.zeros(weight.scales.shape, np.int8)
    return weight.zero_points
