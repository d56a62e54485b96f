"""Attention becomes two products with a softmax between them."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.engines.lowering.primitive_attention import rewrite
from tests.unit.engines.lowering.primitive_graphs import check_equal, lowered, ops, parsed, run

ALL_KEYS = """
attention (float[B,4,S,16] q, float[B,4,T,16] k, float[B,4,T,8] v) => (float[B,4,S,8] y)
{
    [a] y = Attention (q, k, v)
}
"""
CACHED = """
attention (float[B,4,S,16] q, float[B,2,C,16] k, float[B,2,C,16] v, int64[B] lengths)
    => (float[B,4,S,16] y, float[B,4,S,16] z)
{
    [a] y = Attention <is_causal = 1> (q, k, v, , , , lengths)
    [b] z = Attention <is_causal = 1, scale = 0.4> (q, k, v, , , , lengths)
}
"""


def cached(lengths: list[int], new: int, size: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(new)
    q = size * rng.normal(size=(len(lengths), 4, new, 16))
    k, v = (size * rng.normal(size=(len(lengths), 2, 20, 16)) for _ in range(2))
    return {"q": q, "k": k, "v": v, "lengths": np.array(lengths)}


def test_the_nodes_for_all_keys() -> None:
    """Scaled before the product; no mask, no reshape where no heads share keys."""
    model = lowered(ALL_KEYS, rewrite)
    expected = ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]
    assert [n.op_type for n in model.graph] == expected


def test_the_nodes_for_a_cache() -> None:
    """One mask for both; what is added is 0 or the lowest finite number; keys are not repeated."""
    model = lowered(CACHED, rewrite, "float16")
    found = ops(model)
    assert (found["Where"], found["LessOrEqual"], found["Expand"], found["Tile"]) == (1, 1, 0, 0)
    (choice,) = (n for n in model.graph if n.op_type == "Where")
    values = [v.const_value.numpy().item() for v in choice.inputs[1:] if v and v.const_value]
    assert values == [0.0, np.finfo(np.float16).min]
    assert [use.node.op_type for use in choice.outputs[0].uses()] == ["Add", "Add"]


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_all_keys_stay(dtype: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {"q": (2, 4, 5, 16), "k": (2, 4, 7, 16), "v": (2, 4, 7, 8)}
    check_equal(ALL_KEYS, rewrite, dtype, {k: rng.normal(size=s) for k, s in shapes.items()})


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize(
    ("lengths", "new"), [([6, 6], 6), ([5, 20, 9], 5), ([1, 20, 7], 1), ([3], 3)]
)
def test_a_cache_stays(dtype: str, lengths: list[int], new: int) -> None:
    """Prefill, a chunk behind caches of different lengths, single steps, and full caches."""
    check_equal(CACHED, rewrite, dtype, cached(lengths, new))


def test_float16_does_not_overflow() -> None:
    """Products of 16 times 60 times 70 are above float16's 65,504, unless scaled beforehand."""
    feeds = cached([4, 20], 3)
    feeds["q"], feeds["k"] = np.full_like(feeds["q"], 60.0), np.full_like(feeds["k"], 70.0)
    check_equal(CACHED, rewrite, "float16", feeds)


def test_what_lies_behind_a_row_does_not_matter() -> None:
    """Masked keys weigh exactly nothing, be they enormous."""
    results = []
    for rubbish in (0.0, 1e6):
        feeds = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in cached([3, 9], 2).items()}  # fmt: skip
        for name in "kv":
            feeds[name][0, :, 3:] = rubbish
            feeds[name][1, :, 9:] = rubbish
        results.append(run(lowered(CACHED, rewrite), feeds)[0])
    np.testing.assert_array_equal(results[0], results[1])


def test_softmax_precision() -> None:
    """With it, softmax computes in that type and its weights return to the inputs' type."""
    text = CACHED.replace("is_causal = 1>", "is_causal = 1, softmax_precision = 1>")
    assert ops(lowered(text, rewrite, "float16"))["Cast"] == 2
    check_equal(text, rewrite, "float16", cached([3, 9], 2))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<is_causal = 1>", "<is_causal = 0>", "it has nonpad_kv_seqlen without is_causal"),
        ("<is_causal = 1>", "<is_causal = 1, softcap = 3.0>", "Attention has softcap = 3.0"),
        (
            "<is_causal = 1> (q, k, v, , , , lengths)",
            "<is_causal = 1> (q, k, v)",
            "Attention has is_causal = 1",
        ),
        (
            "float[B,4,S,16] q",
            "float[B,H,S,16] q",
            "the graph does not fix heads and channels of 'q'",
        ),
    ],
)
def test_others_are_left(old: str, new: str, reason: str) -> None:
    model = parsed(CACHED.replace(old, new))
    outcome = rewrite(model)
    assert f"a: {reason}" in outcome.left
    assert ops(model)["Attention"] == len(outcome.left) == 2 - outcome.changed


def test_a_mask_is_left() -> None:
    text = ALL_KEYS.replace("v) =>", "v, float[S,T] m) =>", 1).replace(
        "(q, k, v)\n", "(q, k, v, m)\n"
    )
    text = text.replace("float[B,4,T,8] v)", "float[B,4,T,8] v, float[S,T] m)")
    assert rewrite(parsed(text)).left == ("a: it has a mask or a cache of its own",)
