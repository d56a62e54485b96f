"""Convolutions of integers with channels last: which are rewritten, and that they compute what they did."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from janus_edge import cpu_session
from janus_edge.compare import difference
from janus_edge.engines.lowering import channels_last, picture_strips, unsigned_activations
from janus_edge.engines.lowering.passes import load
from janus_edge.engines.lowering.picture_strips import strip_rows
from janus_edge.processor import EXACT, SATURATING, int8_products
from tests.unit.engines.lowering.small_graphs import Arrays, Rewrite, lowered, ops, parse, run

#: The kinds of the VQ model: at the same size, half as large with a border at two sides, of single pixels.
CONVOLUTIONS = """
three (float[N,4,6,8] x) => (float[N,6,6,8] y, float[N,8,3,4] z, float[N,6,6,8] u)
<int8[6,4,3,3] w, float[6] w_scale, int8[6] w_zero, float[6] b,
 int8[8,4,3,3] v, float[8] v_scale, int8[8] v_zero,
 int8[6,4,1,1] t, float[6] t_scale, int8[6] t_zero, float[6] c, float scale = {0.02}, uint8 middle = {128}>
{
    q = QuantizeLinear (x, scale, middle)
    xd = DequantizeLinear (q, scale, middle)
    wd = DequantizeLinear <axis = 0> (w, w_scale, w_zero)
    [same] y = Conv <pads = [1, 1, 1, 1]> (xd, wd, b)
    vd = DequantizeLinear <axis = 0> (v, v_scale, v_zero)
    [half] z = Conv <pads = [0, 0, 1, 1], strides = [2, 2]> (xd, vd)
    td = DequantizeLinear <axis = 0> (t, t_scale, t_zero)
    [pixel] u = Conv (xd, td, c)
}
"""
SIZES = {"y": (2, 6, 6, 8), "z": (2, 8, 3, 4), "u": (2, 6, 6, 8)}

#: What lies between the VQ model's convolutions, and a reader that wants channels first.
BLOCK = """
block (float[N,4,6,8] x) => (float[N,4,12,16] y, float[N,4,48] flat, float[N,4,6,8] z)
<int8[4,4,3,3] w, float[4] w_scale, int8[4] w_zero, float[4] b, float[4] norm, float[4] shift,
 int8[4,4,3,3] v, float[4] v_scale, int8[4] v_zero,
 float scale = {0.02}, uint8 middle = {128}, float[4] sizes = {1, 1, 2, 2}, int64[3] whole = {0, 4, -1}>
{
    q = QuantizeLinear (x, scale, middle)
    xd = DequantizeLinear (q, scale, middle)
    wd = DequantizeLinear <axis = 0> (w, w_scale, w_zero)
    a = Conv <pads = [1, 1, 1, 1]> (xd, wd, b)
    n = GroupNormalization <num_groups = 2, epsilon = 0.001> (a, norm, shift)
    s = Sigmoid (n)
    swished = Mul (n, s)
    z = Add (swished, x)
    flat = Reshape (z, whole)
    large = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (a, , sizes)
    lq = QuantizeLinear (large, scale, middle)
    ld = DequantizeLinear (lq, scale, middle)
    vd = DequantizeLinear <axis = 0> (v, v_scale, v_zero)
    y = Conv <pads = [1, 1, 1, 1]> (ld, vd)
}
"""
BLOCK_SIZES = {"y": (2, 4, 12, 16), "flat": (2, 4, 48), "z": (2, 4, 6, 8)}


@pytest.fixture(params=[24576, 16], ids=["whole", "strips"])
def positions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of a strip: pictures of these tests are one strip, or several."""
    monkeypatch.setattr(picture_strips, "POSITIONS", request.param)
    return int(request.param)


@pytest.fixture(params=[EXACT, SATURATING])
def rewrite(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rewrite:
    """The pass for a kind of processor; graphs are opened as on one."""
    if request.param == EXACT and int8_products() == SATURATING:
        pytest.skip("products of uint8 and int8 saturate on this processor")
    monkeypatch.setattr(cpu_session, "int8_products", lambda: request.param)
    return channels_last.rewrite if request.param == EXACT else channels_last.rewrite_unsigned


def picture(size: float, seed: int = 3) -> Arrays:
    rng = np.random.default_rng(seed)
    return {"x": (size * rng.normal(size=(2, 4, 6, 8))).astype(np.float32)}


@pytest.mark.parametrize("size", [0.5, 30.0])
def test_the_same_numbers(tmp_path: Path, rewrite: Rewrite, size: float, positions: int) -> None:
    """Also where inputs saturate, at all borders and strides, for two pictures: the sums are exact, and
    their scaling is float32."""
    source = parse(CONVOLUTIONS, tmp_path / "three.onnx")
    model, path, outcome = lowered(source, rewrite)
    assert (outcome.changed, outcome.left) == (3, ())
    assert "Conv" not in ops(model.graph)
    assert ops(model.graph).count("MatMulIntegerToFloat") == (3 if positions > 48 else 3 + 1 + 3)
    expected, found = run(source, picture(size), SIZES), run(path, picture(size), SIZES)
    for name in SIZES:
        assert difference(found[name], expected[name], "float32")


@pytest.mark.parametrize(
    ("rewrite", "dtype", "zero"),
    [(channels_last.rewrite, np.int8, 0), (channels_last.rewrite_unsigned, np.uint8, 128)],
)
def test_weights_by_tap(tmp_path: Path, rewrite: Rewrite, dtype: type, zero: int) -> None:
    """In the windows' order, as integers of either kind, and the old ones are gone."""
    source = parse(CONVOLUTIONS, tmp_path / "three.onnx")
    model, _, _ = lowered(source, rewrite)
    before = load(source).graph.initializers["w"].const_value.numpy()
    after = model.graph.initializers["w.columns"].const_value.numpy()
    assert after.dtype == dtype
    for tap in range(9):
        found = after[4 * tap : 4 * tap + 4].astype(int) - zero
        np.testing.assert_array_equal(found, before[:, :, tap // 3, tap % 3].T)
    assert "w" not in model.graph.initializers


def test_exact_sums_at_their_largest(tmp_path: Path, rewrite: Rewrite) -> None:
    """Products of extremes do not saturate in 16 bits, as they would in x86's pairwise sums."""
    text = CONVOLUTIONS.replace("0.02", "1.0")
    drawn = load(parse(text, tmp_path / "three.onnx")).graph.initializers["w"].const_value.numpy()
    weights = np.where(drawn < 0, -127, 127).astype(np.int8)
    literal = ",".join(map(str, weights.ravel()))
    text = text.replace("int8[6,4,3,3] w,", f"int8[6,4,3,3] w = {{{literal}}},")
    _, path, _ = lowered(parse(text, tmp_path / "extreme.onnx"), rewrite)
    x = np.where(np.random.default_rng(1).random((2, 4, 6, 8)) < 0.5, -128.0, 127.0)
    found = run(path, {"x": x.astype(np.float32)}, SIZES)["y"]
    graph = load(path).graph.initializers
    scale, bias = (graph[name].const_value.numpy() for name in ("w_scale", "b"))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    sums = np.einsum("nchwij,ocij->nohw", windows, weights.astype(np.int64))
    expected = sums * scale[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_what_lies_between(tmp_path: Path, rewrite: Rewrite, positions: int) -> None:
    """Norm, swish, sums and repeated pixels are those of the source, and an operator that wants channels
    first reads them so."""
    source = parse(BLOCK, tmp_path / "block.onnx")
    model, path, outcome = lowered(source, rewrite)
    assert outcome.changed == 2
    left = {"Conv", "GroupNormalization", "Sigmoid", "Resize"} & set(ops(model.graph))
    assert not left
    assert ops(model.graph).count("QuickGelu") == (1 if positions > 48 else 3)
    expected, found = (run(p, picture(1.0), BLOCK_SIZES) for p in (source, path))
    for name in ("flat", "z"):
        assert difference(found[name], expected[name], "float32")
    # a rounding of the first convolution may turn one integer of the second's input
    assert np.abs(found["y"] - expected["y"]).max() <= 2 * 0.02 * np.abs(expected["y"]).max()


def test_sums_behind_repeated_pixels(tmp_path: Path, rewrite: Rewrite, positions: int) -> None:
    """Pictures of one size are in equal strips, wherever they come from."""
    text = BLOCK.replace("float[N,4,48] flat", "float[N,4,12,16] more, float[N,4,48] flat").replace(
        "(ld, vd)\n", "(ld, vd)\n    e = Abs (large)\n    more = Add (y, e)\n"
    )
    source = parse(text, tmp_path / "block.onnx")
    _, path, outcome = lowered(source, rewrite)
    assert outcome.changed == 2
    sizes = {"more": (2, 4, 12, 16), **BLOCK_SIZES}
    expected, found = (run(p, picture(1.0), sizes) for p in (source, path))
    assert np.abs(found["more"] - expected["more"]).max() <= 0.04 * np.abs(expected["y"]).max()


@pytest.mark.parametrize("mean", [0.0, 20.0])
def test_a_norm_far_from_zero(tmp_path: Path, rewrite: Rewrite, mean: float) -> None:
    """Variance as the mean square less the squared mean: close enough for 8 bits at 60 deviations."""
    text = BLOCK.replace("float[4] b,", f"float[4] b = {{{', '.join([str(mean)] * 4)}}},")
    source = parse(text, tmp_path / "block.onnx")
    _, path, _ = lowered(source, rewrite)
    expected, found = (run(p, picture(1.0), BLOCK_SIZES)["z"] for p in (source, path))
    seen = difference(found, expected, "float32")
    assert seen.snr_db is not None
    assert seen.snr_db > 60


def test_behind_unsigned_activations(tmp_path: Path, rewrite: Rewrite) -> None:
    """Signed inputs, as bundles have them, become unsigned first, and then the rest follows."""
    text = CONVOLUTIONS.replace("uint8 middle = {128}", "int8 middle = {0}")
    source = parse(text, tmp_path / "three.onnx")
    _, path, outcome = lowered(source, unsigned_activations.rewrite, rewrite)
    assert outcome.changed == 3
    expected, found = (run(p, picture(1.0), SIZES) for p in (source, path))
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
        ("Conv <pads = [1, 1, 1, 1]>", "Conv <auto_pad = \"SAME_UPPER\">", "its pads are not written"),
        ("Conv <pads = [1, 1, 1, 1]>", "Conv <pads = [2, 2, 2, 2], dilations = [2, 2]>", "it is dilated"),
    ],
)  # fmt: skip
def test_what_is_left(tmp_path: Path, before: str, after: str, reason: str) -> None:
    """What only looks alike stays, and the reason says what differs."""
    assert before in CONVOLUTIONS
    outcome = channels_last.rewrite(
        load(parse(CONVOLUTIONS.replace(before, after), tmp_path / "three.onnx"))
    )
    assert re.match(f"same: {reason}", outcome.left[0])
    assert outcome.changed + len(outcome.left) == 3


def test_of_no_fixed_size(tmp_path: Path) -> None:
    text = CONVOLUTIONS.replace("[N,4,6,8] x", "[N,4,H,W] x").replace("6,6,8]", "6,H,W]")
    outcome = channels_last.rewrite(
        load(parse(text.replace("8,3,4]", "8,h,w]"), tmp_path / "three.onnx"))
    )
    assert outcome.changed == 0
    assert outcome.left[0] == "same: 'q' is not [N, C, H, W] of a fixed size"


def test_float_convolutions_are_not_mentioned(tmp_path: Path, rewrite: Rewrite) -> None:
    """One whose input or weights are floats is what the recipe wanted; it reads what it did."""
    text = CONVOLUTIONS.replace("Conv (xd, td, c)", "Conv (e, td, c)").replace(
        "td = ",
        "f = Conv <pads = [1, 1, 1, 1]> (xd, floats)\n    e = Slice (f, zero, four, one)\n    td = ",
    )
    text = text.replace(
        "float scale",
        "float[6,4,3,3] floats, int64[1] zero = {0}, int64[1] four = {4}, int64[1] one = {1}, float scale",
    )
    source = parse(text, tmp_path / "three.onnx")
    _, path, outcome = lowered(source, rewrite)
    assert (outcome.changed, outcome.left) == (2, ())
    expected, found = (run(p, picture(1.0), SIZES) for p in (source, path))
    for name in SIZES:
        assert difference(found[name], expected[name], "float32")


def test_rows_of_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """The most that fit, in equal strips; a row each where nothing divides, or none would fit."""
    monkeypatch.setattr(picture_strips, "POSITIONS", 24576)
    assert [strip_rows(s, s) for s in (24, 96, 192, 384)] == [24, 96, 96, 64]
    assert strip_rows(7919, 10) == 1
    assert strip_rows(7, 100000) == 1


def test_graphs_without_integers_stay(tmp_path: Path) -> None:
    text = "g (float[N,4,6,8] x) => (float[N,4,6,8] y) { y = Relu (x) }"
    assert channels_last.rewrite(load(parse(text, tmp_path / "g.onnx"))).changed == 0
