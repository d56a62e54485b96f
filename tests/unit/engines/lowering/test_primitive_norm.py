"""RMSNormalization becomes plain operators that compute in float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from janus_edge.engines.lowering.primitive_norm import rewrite
from tests.unit.engines.lowering.primitive_graphs import check_equal, lowered, ops, parsed

NORM = """
norm (float[B,S,32] x, float[32] scale) => (float[B,S,32] y)
{
    [n] y = RMSNormalization <axis = -1, epsilon = 1e-3> (x, scale)
}
"""


def test_float32_needs_no_casts() -> None:
    """One node each of the definition's, and the epsilon and the axis are the node's own."""
    model = lowered(NORM, rewrite)
    assert ops(model) == {"Mul": 2, "ReduceMean": 1, "Add": 1, "Sqrt": 1, "Div": 1}
    constants = [v.const_value.numpy() for v in model.graph.initializers.values() if v.const_value]
    assert [c.item() for c in constants] == [-1, pytest.approx(1e-3)]
    assert list(model.graph)[-1].outputs[0].name == "y"


def test_float16_is_computed_in_float32() -> None:
    """The input is cast up, and the normalised values down before they are scaled, as ONNX says."""
    model = lowered(NORM, rewrite, "float16")
    assert ops(model)["Cast"] == 2
    scaling = model.graph.outputs[0].producer()
    assert scaling is not None
    assert scaling.op_type == "Mul"
    assert {v.dtype for v in scaling.inputs if v} == {ir.DataType.FLOAT16}


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_the_values_stay(dtype: str, size: float) -> None:
    """Also where a square is no float16 number, and where epsilon decides."""
    rng = np.random.default_rng(0)
    feeds = {"x": size * rng.normal(size=(2, 3, 32)), "scale": rng.normal(size=32)}
    check_equal(NORM, rewrite, dtype, feeds)


def test_several_axes_counted_from_the_front() -> None:
    text = NORM.replace("axis = -1", "axis = 1").replace("float[32] scale", "float[S,32] scale")
    rng = np.random.default_rng(1)
    check_equal(
        text,
        rewrite,
        "float",
        {"x": rng.normal(size=(2, 3, 32)), "scale": rng.normal(size=(3, 32))},
    )


def test_another_stash_type_is_left() -> None:
    """Computing in float16 on purpose is not what this pass writes."""
    model = parsed(NORM.replace("axis = -1", "axis = -1, stash_type = 10"), "float16")
    outcome = rewrite(model)
    assert outcome.changed == 0
    assert outcome.left == ("n: stash_type is another than 1: what it computes in is not float32",)
    assert ops(model) == {"RMSNormalization": 1}
