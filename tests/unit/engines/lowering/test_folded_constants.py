"""Constants computed ahead: which nodes, how large, and with what result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.bundle import Bundle
from janus_edge.engines.lowering.folded_constants import rewrite
from janus_edge.engines.lowering.passes import load
from janus_edge.graphs import Graph
from tests.unit.engines.lowering.small_graphs import lowered, ops, parse, run

GRAPH = """
folded (float[N,6] x) => (float[N,4] y)
<float[2,3] a, float[6] b, int8[6,4] w, float[4] w_scale, int8[4] w_zero, int64[1] flat = {6}>
{
    [turned] t = Transpose <perm = [1, 0]> (a)
    [flattened] f = Reshape (t, flat)
    [summed] s = Add (f, b)
    moved = Add (x, s)
    [weight] wd = DequantizeLinear <axis = 1> (w, w_scale, w_zero)
    y = MatMul (moved, wd)
}
"""


def test_a_chain_becomes_one_initializer(tmp_path: Path) -> None:
    """What depends on folded results is folded, what is read no more is gone; weights stay integers."""
    source = parse(GRAPH, tmp_path / "folded.onnx")
    model, path, outcome = lowered(source, rewrite)
    assert (outcome.changed, outcome.left) == (3, ())
    assert sorted(ops(model.graph)) == ["Add", "DequantizeLinear", "MatMul"]
    before = {
        name: value.const_value.numpy() for name, value in load(source).graph.initializers.items()
    }
    after = model.graph.initializers
    np.testing.assert_array_equal(
        after["s"].const_value.numpy(), before["a"].T.reshape(6) + before["b"]
    )
    assert set(after) == {"s", "w", "w_scale", "w_zero"}
    feeds, shapes = {"x": np.ones((3, 6), np.float32)}, {"y": (3, 4)}
    np.testing.assert_array_equal(run(path, feeds, shapes)["y"], run(source, feeds, shapes)["y"])


@pytest.mark.parametrize(
    ("before", "after", "name", "reason"),
    [
        ("float[2,3] a", "float[2,30000] a", "turned", "'a' has 240000 bytes"),
        ("t = Transpose <perm = [1, 0]> (a)", "t = Expand (a, large)", "turned", "'t' has 24000000 bytes"),
        ("t = Transpose <perm = [1, 0]> (a)", "t = com.microsoft.Gelu (a)", "turned", "Gelu is no standard operator"),
        ("=> (float[N,4] y)", "=> (float[N,4] y, float[6] s)", "summed", "'s' is an output of the graph"),
    ],
)  # fmt: skip
def test_what_is_left(tmp_path: Path, before: str, after: str, name: str, reason: str) -> None:
    """What is large, unknown, or an output of the graph; and what reads it."""
    text = GRAPH.replace(before, after).replace(
        "flat = {6}", "flat = {-1}, int64[3] large = {1000000, 2, 3}"
    )
    if name == "turned":  # what it makes is no longer of the size of b
        text = text.replace("Reshape (t, flat)", "ReduceMax <keepdims = 0> (t)")
    model = load(parse(text, tmp_path / "folded.onnx"))
    outcome = rewrite(model)
    assert f"{name}: {reason}" in outcome.left
    assert name in [node.name for node in model.graph]


@pytest.mark.parametrize("graph", list(Graph))
def test_canonical_graphs_have_none(tiny_bundle: Path, graph: Graph) -> None:
    """The exporter leaves nothing to compute ahead: the pass serves what lowerings make."""
    assert rewrite(load(Bundle.open(tiny_bundle).graph(graph))).changed == 0
