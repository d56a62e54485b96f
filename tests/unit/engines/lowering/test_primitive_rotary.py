"""RotaryEmbedding becomes plain operators that share the gathered rows of the tables."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.engines.lowering.primitive_rotary import rewrite
from tests.unit.engines.lowering.primitive_graphs import check_equal, lowered, ops, parsed

ROTARY = """
rotary (float[B,4,S,16] q, float[B,2,S,16] k, float[40,8] cos, float[40,8] sin, int64[B,S] at)
    => (float[B,4,S,16] y, float[B,2,S,16] z)
{
    [q] y = RotaryEmbedding (q, cos, sin, at)
    [k] z = RotaryEmbedding <interleaved = 0> (k, cos, sin, at)
}
"""


def test_the_nodes() -> None:
    """Two gathers for both rotations, and two halves, four products and a join for each."""
    found = ops(lowered(ROTARY, rewrite))
    assert found == {
        "Gather": 2, "Unsqueeze": 2, "Slice": 4, "Mul": 8, "Sub": 2, "Add": 2, "Concat": 2,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_the_values_stay(dtype: str) -> None:
    """With positions that differ between rows."""
    rng = np.random.default_rng(0)
    angles = np.arange(40)[:, None] / 10.0 ** np.arange(8)
    at = np.array([[0, 1, 2], [37, 38, 39]])
    feeds = {"q": rng.normal(size=(2, 4, 3, 16)), "k": rng.normal(size=(2, 2, 3, 16))}
    tables = {"cos": np.cos(angles), "sin": np.sin(angles)}
    check_equal(ROTARY, rewrite, dtype, {**feeds, **tables, "at": at})


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("interleaved = 0", "interleaved = 1", "RotaryEmbedding has interleaved = 1"),
        ("[40,8]", "[40,H]", "the graph does not fix the size of its heads"),
        ("interleaved = 0", "num_heads = 2", "RotaryEmbedding has num_heads = 2"),
    ],
)
def test_others_are_left(old: str, new: str, reason: str) -> None:
    model = parsed(ROTARY.replace(old, new))
    outcome = rewrite(model)
    assert f"k: {reason}" in outcome.left
    assert ops(model)["RotaryEmbedding"] == len(outcome.left) == 2 - outcome.changed


def test_tables_without_positions_are_left() -> None:
    text = ROTARY.replace("[40,8]", "[B,S,8]").replace("sin, at)\n", "sin)\n")
    assert rewrite(parsed(text)).left == ("q: it has no position ids", "k: it has no position ids")
