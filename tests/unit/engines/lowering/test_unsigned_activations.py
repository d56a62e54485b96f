"""int8 activations as uint8: which, and that no number changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from janus_edge.engines.lowering.passes import load
from janus_edge.engines.lowering.unsigned_activations import rewrite
from tests.unit.engines.lowering.small_graphs import lowered, named_node, parse, run

PRODUCT = """
product (float[N,16] x) => (float[N,8] y, float[N,8] z)
<int8[16,8] w, float[8] w_scale, int8[8] w_zero, int8[16,8] u, float[8] u_scale, int8[8] u_zero,
 float scale = {0.02}, int8 zero = {0}>
{
    [q] xq = QuantizeLinear (x, scale, zero)
    [d] xd = DequantizeLinear (xq, scale, zero)
    [e] xe = DequantizeLinear (xq, scale, zero)
    [w] wd = DequantizeLinear <axis = 1> (w, w_scale, w_zero)
    [u] ud = DequantizeLinear <axis = 1> (u, u_scale, u_zero)
    y = MatMul (xd, wd)
    z = MatMul (xe, ud)
}
"""


def test_activations_and_not_weights(tmp_path: Path) -> None:
    """The pair and its second reader share one uint8 128; weights stay int8 with their zeros."""
    model, _, outcome = lowered(parse(PRODUCT, tmp_path / "product.onnx"), rewrite)
    assert (outcome.changed, outcome.left) == (1, ())
    points = {n.name: n.inputs[2] for n in model.graph if len(n.inputs) == 3}
    assert points["q"] is points["d"] is points["e"]
    assert points["q"].const_value.numpy() == np.uint8(128)
    assert points["q"].dtype == ir.DataType.UINT8
    assert named_node(model, "q").outputs[0].dtype == ir.DataType.UINT8
    for name in "wu":
        assert points[name].dtype == ir.DataType.INT8
        assert not points[name].const_value.numpy().any()


def test_axes_of_their_own(tmp_path: Path) -> None:
    """A zero point per channel becomes as many."""
    text = PRODUCT.replace(
        "float scale = {0.02}, int8 zero = {0}", "float[16] x_scale, int8[16] x_zero"
    )
    text = text.replace(", scale, zero", ", x_scale, x_zero")
    model, _, outcome = lowered(parse(text, tmp_path / "product.onnx"), rewrite)
    assert outcome.changed == 1
    np.testing.assert_array_equal(
        named_node(model, "q").inputs[2].const_value.numpy(), np.full(16, 128, np.uint8)
    )


@pytest.mark.parametrize("size", [0.5, 30.0])
def test_the_same_numbers(tmp_path: Path, size: float) -> None:
    """The same integers, saturated ones as well: products within their float32 rounding."""
    source = parse(PRODUCT, tmp_path / "product.onnx")
    _, path, _ = lowered(source, rewrite)
    rows = np.random.default_rng(1).normal(size=(32, 16)) * size
    feeds, shapes = {"x": rows.astype(np.float32)}, {"y": (32, 8), "z": (32, 8)}
    expected, found = run(source, feeds, shapes), run(path, feeds, shapes)
    assert (np.abs(feeds["x"]).max() > 0.02 * 128) == (size > 1)
    for name in shapes:
        np.testing.assert_allclose(
            found[name], expected[name], rtol=0, atol=1e-6 * np.abs(expected[name]).max()
        )


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("int8 zero = {0}", "int8 zero = {3}", "QuantizeLinear has a zero point other than int8 0"),
        ("int8 zero = {0}", "uint8 zero = {0}", "QuantizeLinear has a zero point other than int8 0"),
        ("QuantizeLinear (x, scale, zero)", "QuantizeLinear <output_dtype = 3> (x, scale)",
         "QuantizeLinear has no constant zero point"),
        ("DequantizeLinear (xq, scale, zero)", "DequantizeLinear (xq, scale)",
         "DequantizeLinear has no constant zero point"),
        ("xe = DequantizeLinear (xq, scale, zero)", "xe = Cast <to = 1> (xq)",
         "'xq' is read by Cast, not DequantizeLinear"),
    ],
)  # fmt: skip
def test_what_is_left(tmp_path: Path, before: str, after: str, reason: str) -> None:
    text = (
        PRODUCT.replace(f"[d] xd = {before}", f"[d] xd = {after}")
        if before.startswith("Deq")
        else PRODUCT
    )
    model = load(parse(text.replace(before, after), tmp_path / "product.onnx"))
    outcome = rewrite(model)
    assert outcome.changed == 0
    assert outcome.left == (f"q: {reason}",)


def test_an_output_of_the_graph_keeps_its_type(tmp_path: Path) -> None:
    """A caller that reads the integers gets int8 as before."""
    text = PRODUCT.replace("float[N,8] z)", "float[N,8] z, int8[N,16] xq)")
    outcome = rewrite(load(parse(text, tmp_path / "product.onnx")))
    assert outcome.left == ("q: 'xq' is an output of the graph",)
