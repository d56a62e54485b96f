"""Norms of 16-bit graphs are computed in float32."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.engines.lowering.passes import Pass, lower
from janus_edge.engines.lowering.wide_norms import rewrite
from tests.unit.engines.lowering.primitive_graphs import check_equal, lowered, parsed

LAYER = """
norm (float[N,8,32] x) => (float[N,8,32] y) <float[32] w, float[32] b>
{ [n] y = LayerNormalization <axis = -1, epsilon = 0.000001> (x, w, b) }
"""
GROUP = """
norm (float[N,32,6,6] x) => (float[N,32,6,6] y) <float[32] w, float[32] b>
{ [n] y = GroupNormalization <num_groups = 8, epsilon = 0.000001> (x, w, b) }
"""


@pytest.mark.parametrize("text", [LAYER, GROUP], ids=["layer", "group"])
def test_the_norm_is_float32(text: str) -> None:
    """Input, scale and bias are cast to float32, the result is cast back, and the attributes stay."""
    model = lowered(text, rewrite, "float16")
    (norm,) = (node for node in model.graph if node.op_type.endswith("Normalization"))
    assert {
        value.dtype.name for value in (*norm.inputs, *norm.outputs) if value and value.dtype
    } == {"FLOAT"}
    assert norm.attributes.get_float("epsilon") == pytest.approx(1e-6)
    assert model.graph.outputs[0].dtype is not None
    assert model.graph.outputs[0].dtype.name == "FLOAT16"


@pytest.mark.parametrize("text", [LAYER, GROUP], ids=["layer", "group"])
def test_results_stay(text: str) -> None:
    shape = (2, 8, 32) if text is LAYER else (2, 32, 6, 6)
    check_equal(text, rewrite, "float16", {"x": np.random.default_rng(0).normal(size=shape)})


def test_float32_stays() -> None:
    outcome = lower(parsed(LAYER), [Pass("wide_norms", rewrite, expected=False)])["wide_norms"]
    assert (outcome.changed, outcome.left) == (0, ())
