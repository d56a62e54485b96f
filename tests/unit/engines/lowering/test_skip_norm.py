"""Residual additions and norms as one operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.bundle import Bundle
from janus_edge.compare import difference
from janus_edge.engines.lowering.passes import load
from janus_edge.engines.lowering.skip_norm import rewrite
from janus_edge.graphs import Graph
from tests.unit.engines.lowering.small_graphs import drive, lowered, named_node, ops, parse, run

BLOCK = """
block (float[B,S,32] x, float[B,S,32] r) => (float[B,S,32] y, float[B,S,32] z)
<float[32] norm, float[32,32] w>
{
    [first] h = RMSNormalization <axis = -1, epsilon = 1e-6> (x, norm)
    m = MatMul (h, w)
    sum = Add (m, r)
    [second] y = RMSNormalization <axis = -1, epsilon = 1e-3> (sum, norm)
    z = Mul (sum, y)
}
"""


def test_what_becomes_of_a_block(tmp_path: Path) -> None:
    """The sum keeps its other reader, the epsilon stays; the norm of an input is left."""
    model, _, outcome = lowered(parse(BLOCK, tmp_path / "block.onnx"), rewrite)
    assert outcome.changed == 1
    assert outcome.left == ("first: 'x' comes from no node, not from Add",)
    assert sorted(ops(model.graph)) == [
        "MatMul", "Mul", "RMSNormalization", "SkipSimplifiedLayerNormalization",
    ]  # fmt: skip
    node = named_node(model, "second/skip")
    assert [v.name for v in node.inputs if v] == ["m", "r", "norm"]
    assert node.attributes["epsilon"].value == pytest.approx(1e-3)
    assert [v.name for v in node.outputs] == ["y", "", "", "sum"]


def test_the_default_epsilon_is_written_out(tmp_path: Path) -> None:
    """RMSNormalization's is 1e-5, ONNX Runtime's operator has another."""
    text = BLOCK.replace("<axis = -1, epsilon = 1e-3>", "")
    model, _, _ = lowered(parse(text, tmp_path / "block.onnx"), rewrite)
    epsilon = named_node(model, "second/skip").attributes["epsilon"].value
    assert epsilon == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("float[B,S,32] r)", "float[32] r)", "'sum' is not a sum of two values of one known shape"),
        (
            "<axis = -1, epsilon = 1e-3>",
            "<axis = 1>",
            "RMSNormalization has the attribute axis = 1",
        ),
        ("sum = Add", "sum = Sub", "'sum' comes from Sub, not from Add"),
        ("[B,S,", "[B,S,3,", "'sum' has 4 axes, the operator takes 2 or 3"),
    ],
)
def test_what_is_left(tmp_path: Path, before: str, after: str, reason: str) -> None:
    model = load(parse(BLOCK.replace(before, after), tmp_path / "block.onnx"))
    outcome = rewrite(model)
    assert outcome.changed == 0
    assert outcome.left[1] == f"second: {reason}"


def test_a_block_computes_the_same(tmp_path: Path) -> None:
    """Both outputs, the norm and what reads the sum besides."""
    source = parse(BLOCK, tmp_path / "block.onnx")
    _, path, _ = lowered(source, rewrite)
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=(2, 5, 32)).astype(np.float32) for name in "xr"}
    shapes = {"y": (2, 5, 32), "z": (2, 5, 32)}
    expected, found = run(source, feeds, shapes), run(path, feeds, shapes)
    for name in shapes:
        assert difference(found[name], expected[name], "float32")


def test_the_language_model(tiny_bundle: Path, tmp_path: Path) -> None:
    """Every norm but the first; hidden states and caches within float32's 90 dB."""
    bundle = Bundle.open(tiny_bundle)
    config, source = bundle.manifest.config.language, bundle.graph(Graph.LANGUAGE_MODEL)
    _, path, outcome = lowered(source, rewrite, folder=tmp_path)
    assert (outcome.changed, len(outcome.left)) == (2 * config.layers, 1)
    drive(path, config, 2).check_like(drive(source, config, 2), 90)
