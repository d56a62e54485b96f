"""A type that differs between the parsed network and its graph is reported."""

from __future__ import annotations

import onnx
import pytest

from janus_edge.engines.tensorrt.type_changes import changed_types, quantizers_without_zero_point
from tests.unit.engines.tensorrt.parsed_networks import parse_text

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

QUANTISED = """
g (float[2,4] x) => (float[2,4] y) <float s = {0.5}, int8 z = {0}>
{ [q] i = QuantizeLinear (x, s%s) \n [d] y = DequantizeLinear (i, s) }
"""


def test_without_a_zero_point() -> None:
    """Without a zero point, ONNX says uint8 and the network int8, and both checks report it."""
    parsed = parse_text(QUANTISED % "")
    assert quantizers_without_zero_point(parsed.model) == (
        "q has no zero point: uint8 in ONNX, int8 in TensorRT",
    )
    assert changed_types(parsed.model, parsed.network) == ("i is INT8, and UINT8 in the graph",)


def test_with_a_zero_point() -> None:
    parsed = parse_text(QUANTISED % ", z")
    assert quantizers_without_zero_point(parsed.model) == ()
    assert changed_types(parsed.model, parsed.network) == ()


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("x", onnx.TensorProto.FLOAT16, "x is FLOAT, and HALF in the graph"),
        ("w", onnx.TensorProto.INT8, "w is FLOAT, and INT8 in the graph"),
        ("h", onnx.TensorProto.BFLOAT16, "h is FLOAT, and BF16 in the graph"),
    ],
)
def test_inputs_weights_and_values(name: str, kind: int, expected: str) -> None:
    """Each kind of tensor is checked; the test changes the graph's side after parsing."""
    parsed = parse_text(
        "g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {1, 2, 3, 4}>"
        "{ h = Add (x, w) \n y = Mul (h, x) }"
    )
    graph = parsed.model.graph
    for tensor in graph.initializer:
        tensor.data_type = kind if tensor.name == name else tensor.data_type
    for value in (*graph.input, *graph.value_info):
        if value.name == name:
            value.type.tensor_type.elem_type = kind
    assert changed_types(parsed.model, parsed.network) == (expected,)
