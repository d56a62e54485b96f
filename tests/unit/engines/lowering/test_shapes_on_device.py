"""Counts of new tokens and targets of Reshape without arithmetic on shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.bundle import Bundle
from janus_edge.engines.lowering.passes import load
from janus_edge.engines.lowering.shapes_on_device import rewrite
from janus_edge.graphs import Graph
from janus_edge.runtime.session import OrtSession
from tests.unit.engines.lowering.small_graphs import drive, lowered, named_node, ops, parse

#: Queries of two heads, rotated at their positions, and back; names are exchanged by tests.
HEADS = """
heads (float[B,S,32] x, int64[B] past) => (float[B,S,32] y, int64[B] lengths)
<float[20,8] cos, float[20,8] sin, int64 zero = {0}, int64 one = {1}, int64[1] axis = {1},
 int64[1] two = {2}, int64[1] size = {16}, int64[1] width = {32}>
{
    rows = Shape <start = 0, end = 1> (x)
    count = Shape <start = 1, end = 2> (x)
    [new] new = Squeeze (count)
    column = Unsqueeze (past, axis)
    [steps] steps = Range (zero, new, one)
    positions = Add (column, steps)
    lengths = Add (past, new)
    split = Concat <axis = 0> (rows, count, two, size)
    flat = Concat <axis = 0> (rows, count, width)
    [apart] q = Reshape <allowzero = 1> (x, split)
    heads = Transpose <perm = [0, 2, 1, 3]> (q)
    turned = RotaryEmbedding (heads, cos, sin, positions)
    back = Transpose <perm = [0, 2, 1, 3]> (turned)
    [together] y = Reshape <allowzero = 1> (back, flat)
}
"""


def test_what_becomes_of_shapes(tmp_path: Path) -> None:
    """Only Slice and Reshape are left to read a shape, and Reshape reads constants."""
    model, _, outcome = lowered(parse(HEADS, tmp_path / "heads.onnx"), rewrite)
    assert (outcome.changed, outcome.left) == (4, ())
    assert not {"Concat", "Squeeze", "Range"} & set(ops(model.graph))
    (shape,) = [node for node in model.graph if node.op_type == "Shape"]
    assert [(use.node.op_type, use.idx) for use in shape.outputs[0].uses()] == [("Slice", 2)]
    for name, expected in (("apart", [0, 0, 2, 16]), ("together", [0, 0, 32])):
        node = named_node(model, name)
        target = node.inputs[1]
        assert target is not None
        assert target.const_value is not None
        assert target.const_value.numpy().tolist() == expected
        assert "allowzero" not in node.attributes


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("new", [1, 4, 20])
def test_it_computes_the_same(tmp_path: Path, rows: int, new: int) -> None:
    """Bit by bit, up to as many new tokens as there are positions."""
    source = parse(HEADS, tmp_path / "heads.onnx")
    _, path, _ = lowered(source, rewrite)
    x = np.random.default_rng(0).normal(size=(rows, new, 32)).astype(np.float32)
    past, results = np.array([7, 0, 3][:rows], np.int64) * (new < 20), []
    for graph in (source, path):
        y, lengths = np.zeros_like(x), np.zeros(rows, np.int64)
        OrtSession(graph, threads=1).bind({"x": x, "past": past}, {"y": y, "lengths": lengths})()
        np.testing.assert_array_equal(lengths, past + new)
        results.append(y)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("before", "after", "changed", "reason"),
    [
        ("(rows, count, two", "(count, rows, two", 2,
         "apart: axis 0 of 'x' is not known to be 'count'"),
        ("int64[1] two = {2}", "int64[1] two = {0}", 3, "apart: 'two' is not one size"),
        ("Range (zero, new, one)", "Range (one, new, one)", 2, "new: steps does not count from 0"),
        ("int64[B] lengths)", "int64[B] lengths, int64 new)", 2,
         "new: 'new' is read by others than Range and Add"),
        ("= Squeeze (count)", "= ReduceMax <keepdims = 0> (count)", 2, None),
    ],
)  # fmt: skip
def test_what_is_left(
    tmp_path: Path, before: str, after: str, changed: int, reason: str | None
) -> None:
    """Each place that does not fit stays, and says why; what does not look like one says nothing."""
    outcome = rewrite(load(parse(HEADS.replace(before, after), tmp_path / "heads.onnx")))
    # what is behind a place that is left may be left for the same reason
    assert (outcome.changed, outcome.left[:1]) == (changed, (reason,) if reason else ())


def test_the_language_model(tiny_bundle: Path, tmp_path: Path) -> None:
    """Prompts, chunks and single tokens of several rows: the same bits as before."""
    bundle = Bundle.open(tiny_bundle)
    config, source = bundle.manifest.config.language, bundle.graph(Graph.LANGUAGE_MODEL)
    _, path, outcome = lowered(source, rewrite, folder=tmp_path)
    assert (outcome.changed, outcome.left) == (4 * config.layers + 2, ())
    drive(path, config, 3).check_like(drive(source, config, 3), 120)
