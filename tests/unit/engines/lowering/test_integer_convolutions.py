"""Convolutions of integers: which are rewritten, and that they compute what their Q/DQ form means."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from janus_edge.compare import difference
from janus_edge.engines.lowering import unsigned_activations
from janus_edge.engines.lowering.integer_convolutions import rewrite
from janus_edge.engines.lowering.passes import load
from tests.unit.engines.lowering.small_graphs import lowered, named_node, ops, parse, run

CONVOLUTIONS = """
two (float[N,4,H,W] x) => (float[N,6,H,W] y, float[N,8,h,w] z)
<int8[6,4,3,3] w, float[6] w_scale, int8[6] w_zero, float[6] b,
 int8[8,2,2,2] u, float[8] u_scale, int8[8] u_zero, float scale = {0.02}, uint8 middle = {128}>
{
    xq = QuantizeLinear (x, scale, middle)
    xd = DequantizeLinear (xq, scale, middle)
    wd = DequantizeLinear <axis = 0> (w, w_scale, w_zero)
    [conv] y = Conv <pads = [1, 1, 1, 1]> (xd, wd, b)
    uq = QuantizeLinear (x, scale, middle)
    xe = DequantizeLinear (uq, scale, middle)
    ud = DequantizeLinear <axis = 0> (u, u_scale, u_zero)
    [grouped] z = Conv <group = 2, strides = [2, 2]> (xe, ud)
}
"""


def test_what_becomes_of_them(tmp_path: Path) -> None:
    """ConvInteger with the attributes of the Conv, on weights that are 128 higher; a bias is added."""
    source = parse(CONVOLUTIONS, tmp_path / "two.onnx")
    model, _, outcome = lowered(source, rewrite)
    assert (outcome.changed, outcome.left) == (2, ())
    assert ops(model.graph).count("ConvInteger") == 2
    assert ops(model.graph).count("Add") == 1
    assert "Conv" not in ops(model.graph)
    node = named_node(model, "conv/ConvInteger")
    assert list(node.attributes["pads"].as_ints()) == [1, 1, 1, 1]
    assert named_node(model, "grouped/ConvInteger").attributes["group"].as_int() == 2
    weights = node.inputs[1].const_value.numpy()
    before = load(source).graph.initializers["w"].const_value.numpy()
    assert weights.dtype == np.uint8
    np.testing.assert_array_equal(weights.astype(int) - 128, before)
    assert node.inputs[3].const_value.numpy() == 128
    assert "w" not in model.graph.initializers


@pytest.mark.parametrize("size", [0.5, 30.0])
def test_the_same_numbers(tmp_path: Path, size: float) -> None:
    """Also where inputs saturate, at odd borders, in groups and with strides: the sums are exact, and
    their scaling is float32."""
    source = parse(CONVOLUTIONS, tmp_path / "two.onnx")
    _, path, _ = lowered(source, rewrite)
    x = (size * np.random.default_rng(3).normal(size=(2, 4, 6, 8))).astype(np.float32)
    shapes = {"y": (2, 6, 6, 8), "z": (2, 8, 3, 4)}
    expected, found = run(source, {"x": x}, shapes), run(path, {"x": x}, shapes)
    for name in shapes:
        assert difference(found[name], expected[name], "float32")


def test_exact_sums_at_their_largest(tmp_path: Path) -> None:
    """Products of extremes do not saturate in 16 bits, as they would in x86's pairwise sums."""
    source = parse(CONVOLUTIONS.replace("0.02", "1.0"), tmp_path / "two.onnx")
    model = load(source)
    weights = model.graph.initializers["w"].const_value.numpy()
    weights = np.where(weights < 0, -127, 127).astype(np.int8)
    text = ",".join(map(str, weights.ravel()))
    literal = CONVOLUTIONS.replace("0.02", "1.0").replace(
        "int8[6,4,3,3] w,", f"int8[6,4,3,3] w = {{{text}}},"
    )
    _, path, _ = lowered(parse(literal, tmp_path / "extreme.onnx"), rewrite)
    x = np.where(np.random.default_rng(1).random((1, 4, 6, 8)) < 0.5, -128.0, 127.0)
    shapes = {"y": (1, 6, 6, 8), "z": (1, 8, 3, 4)}
    found = run(path, {"x": x.astype(np.float32)}, shapes)["y"]
    graph = load(path).graph.initializers
    scale, bias = graph["conv.scale"].const_value.numpy(), graph["b"].const_value.numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    sums = np.einsum("nchwij,ocij->nohw", windows, weights.astype(np.int64))
    expected = sums * scale[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_behind_unsigned_activations(tmp_path: Path) -> None:
    """Signed inputs, as bundles have them, become unsigned first, and then the rest follows."""
    text = CONVOLUTIONS.replace("uint8 middle = {128}", "int8 middle = {0}")
    source = parse(text, tmp_path / "two.onnx")
    model, path, outcome = lowered(source, unsigned_activations.rewrite, rewrite)
    assert outcome.changed == 2
    assert "Conv" not in ops(model.graph)
    x = np.random.default_rng(3).normal(size=(1, 4, 6, 8)).astype(np.float32)
    shapes = {"y": (1, 6, 6, 8), "z": (1, 8, 3, 4)}
    expected, found = run(source, {"x": x}, shapes), run(path, {"x": x}, shapes)
    assert difference(found["y"], expected["y"], "float32")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("uint8 middle = {128}", "int8 middle = {0}", "its input is not uint8"),
        ("float scale = {0.02}, uint8 middle = {128}", "float[4] scale = {0.1, 0.1, 0.1, 0.1}, uint8[4] middle = {128, 128, 128, 128}",
         "its input has no constant scale of its own"),
        ("float[6] w_scale, int8[6] w_zero", "float w_scale, int8 w_zero",
         "'w_scale' is not a constant with a scale per output channel"),
        ("int8[6] w_zero", "int8[6] w_zero = {0, 0, 1, 0, 0, 0}",
         "its weights have zero points other than 0"),
        ("(w, w_scale, w_zero)", "(w, w_scale)", "a zero point is not written out"),
    ],
)  # fmt: skip
def test_what_is_left(tmp_path: Path, before: str, after: str, reason: str) -> None:
    """What only looks alike stays, and the reason says what differs."""
    assert before in CONVOLUTIONS
    outcome = rewrite(load(parse(CONVOLUTIONS.replace(before, after), tmp_path / "two.onnx")))
    assert re.match(f"conv: {reason}", outcome.left[0])
    assert outcome.changed + len(outcome.left) == 2


def test_float_convolutions_are_not_mentioned(tmp_path: Path) -> None:
    """One whose input or weights are floats is what the recipe wanted."""
    text = CONVOLUTIONS.replace("(xd, wd, b)", "(x, wd, b)")
    outcome = rewrite(load(parse(text, tmp_path / "two.onnx")))
    assert (outcome.changed, outcome.left) == (1, ())
