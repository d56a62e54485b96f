"""Attention over all keys becomes two products with a softmax between them."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.engines.lowering.primitive_attention import rewrite
from tests.unit.engines.lowering.primitive_graphs import check_equal, lowered, ops, parsed

ATTENTION = """
attention (float[B,4,S,16] q, float[B,4,T,16] k, float[B,4,T,8] v) => (float[B,4,S,8] y)
{
    [a] y = Attention (q, k, v)
}
"""
GROUPED = ATTENTION.replace("4,T", "2,T").replace("(q,", "<scale = 0.4> (q,")


def feeds(kv_heads: int, size: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"q": (2, 4, 5, 16), "k": (2, kv_heads, 7, 16), "v": (2, kv_heads, 7, 8)}
    return {name: size * rng.normal(size=shape) for name, shape in shapes.items()}


def test_the_nodes() -> None:
    """Scaled before the product; no mask, no reshape where no heads share keys."""
    model = lowered(ATTENTION, rewrite)
    expected = ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]
    assert [n.op_type for n in model.graph] == expected


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize(("text", "kv_heads"), [(ATTENTION, 4), (GROUPED, 2)])
def test_the_values_stay(dtype: str, text: str, kv_heads: int) -> None:
    """Values stay if heads share keys, and the keys are not repeated."""
    check_equal(text, rewrite, dtype, feeds(kv_heads))
    assert not ops(lowered(text, rewrite, dtype)).keys() & {"Expand", "Tile"}


def test_float16_does_not_overflow() -> None:
    """Products of 16 times 60 times 70 are above float16's 65,504, unless scaled beforehand."""
    given = feeds(4)
    given["q"], given["k"] = np.full_like(given["q"], 60.0), np.full_like(given["k"], 70.0)
    check_equal(ATTENTION, rewrite, "float16", given)


def test_softmax_precision() -> None:
    """With it, softmax computes in that type and its weights return to the inputs' type."""
    text = ATTENTION.replace("Attention (", "Attention <softmax_precision = 1> (")
    assert ops(lowered(text, rewrite, "float16"))["Cast"] == 2
    check_equal(text, rewrite, "float16", feeds(4))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Attention (", "Attention <is_causal = 1> (", "Attention has is_causal = 1"),
        ("Attention (", "Attention <softcap = 3.0> (", "Attention has softcap = 3.0"),
        ("float[B,4,S,16] q", "float[B,H,S,16] q", "the graph does not fix heads and channels of 'q'"),
        ("v) =>", "v, float[S,T] m) =>", "it has a mask, a cache or lengths"),
        ("v) =>", "v, int64[B] n) =>", "it has a mask, a cache or lengths"),
    ],
)  # fmt: skip
def test_others_are_left(old: str, new: str, reason: str) -> None:
    text = ATTENTION.replace(old, new)
    for added, inputs in ((" m)", "(q, k, v, m)"), (" n)", "(q, k, v, , , , n)")):
        if added in text:
            text = text.replace("(q, k, v)", inputs)
    model = parsed(text)
    assert rewrite(model).left == (f"a: {reason}",)
    assert ops(model)["Attention"] == 1
