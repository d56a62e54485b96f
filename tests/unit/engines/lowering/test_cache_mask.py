"""Attention's lengths become a mask with the same meaning."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from janus_edge.engines.lowering.cache_mask import rewrite
from janus_edge.engines.lowering.passes import Pass, lower
from tests.unit.engines.lowering.primitive_graphs import check_equal, lowered, parsed

CACHED = """
attention (float[B,4,S,16] q, float[B,2,C,16] k, float[B,2,C,16] v, int64[B] lengths)
    => (float[B,4,S,16] y, float[B,4,S,16] z)
{
    [a] y = Attention <is_causal = 1> (q, k, v, , , , lengths)
    [b] z = Attention <is_causal = 1, scale = 0.4> (q, k, v, , , , lengths)
}
"""


def cached(lengths: list[int], new: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(new)
    q = rng.normal(size=(len(lengths), 4, new, 16))
    k, v = (rng.normal(size=(len(lengths), 2, 20, 16)) for _ in range(2))
    return {"q": q, "k": k, "v": v, "lengths": np.array(lengths)}


def test_one_mask_serves_all() -> None:
    """The lengths and the causal attribute go, the scale stays, and both layers read one mask."""
    model = lowered(CACHED, rewrite)
    nodes = [node for node in model.graph if node.op_type == "Attention"]
    assert [len(node.inputs) for node in nodes] == [4, 4]
    assert nodes[0].inputs[3] is nodes[1].inputs[3]
    assert [set(node.attributes) for node in nodes] == [set(), {"scale"}]
    assert Counter(node.op_type for node in model.graph)["Less"] == 1


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize(
    ("lengths", "new"), [([6, 6], 6), ([5, 20, 9], 5), ([1, 20, 7], 1), ([3], 3), ([20, 4], 4)]
)
def test_results_stay(dtype: str, lengths: list[int], new: int) -> None:
    """Results stay for prefill, a window after caches of different lengths, single steps, and full caches."""
    check_equal(CACHED, rewrite, dtype, cached(lengths, new))


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("[a] y = Attention (q, k, v)", "a: it has no nonpad_kv_seqlen"),
        ("[a] y = Attention (q, k, v, , , , lengths)", "without is_causal"),
        ("[a] y = Attention <is_causal = 1> (q, k, v, m, , , lengths)", "a mask or its own cache"),
        ("[a] y = Attention <is_causal = 1, softcap = 2.0> (q, k, v, , , , lengths)", "softcap"),
    ],
)
def test_others_stay(node: str, reason: str) -> None:
    """An attention with another meaning is left, with the reason."""
    text = f"""
    attention (float[B,4,S,16] q, float[B,4,C,16] k, float[B,4,C,16] v, int64[B] lengths,
        bool[B,1,S,C] m) => (float[B,4,S,16] y)
    {{ {node} }}
    """
    model = parsed(text)
    outcome = lower(model, [Pass("cache_mask", rewrite, expected=False)])["cache_mask"]
    assert outcome.changed == 0
    assert reason in outcome.left[0]
