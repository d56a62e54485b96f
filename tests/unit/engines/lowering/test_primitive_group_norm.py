"""GroupNormalization becomes InstanceNormalization of the groups and a factor per channel."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.engines.lowering.primitive_group_norm import rewrite
from tests.unit.engines.lowering.primitive_graphs import check_equal, lowered, ops, parsed

NORM = """
norm (float[N,12,H,5] x, float[12] scale, float[12] bias) => (float[N,12,H,5] y)
{
    [n] y = GroupNormalization <num_groups = 3, epsilon = 1e-3> (x, scale, bias)
}
"""


def test_the_nodes() -> None:
    found = ops(lowered(NORM, rewrite))
    expected = {"Reshape": 4, "InstanceNormalization": 1, "Shape": 1, "Mul": 1, "Add": 1}
    assert found == expected


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_the_values_stay(dtype: str) -> None:
    """With a scale and a bias of its own for every channel of a group."""
    rng = np.random.default_rng(0)
    x = 3 + rng.normal(size=(2, 12, 4, 5))
    check_equal(
        NORM, rewrite, dtype, {"x": x, "scale": rng.normal(size=12), "bias": rng.normal(size=12)}
    )


def test_bfloat16_is_left() -> None:
    """InstanceNormalization has no bfloat16 before opset 22, and none in TensorRT 10.3."""
    model = parsed(NORM, "bfloat16")
    outcome = rewrite(model)
    assert outcome.changed == 0
    assert outcome.left == ("n: InstanceNormalization of opset 20 has no BFLOAT16",)
