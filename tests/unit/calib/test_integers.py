"""Weights as integers: error bounds, and ONNX's own dequantisation as the judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from janus_edge.calib.integers import quantize_blocks, quantize_per_channel
from janus_edge.calib.packing import pack_int4
from janus_edge.calib.quantized_weight import QuantizedWeight
from janus_edge.errors import InputError

Floats = NDArray[np.float32]
FORMATS = [(4, True), (4, False), (8, True), (8, False)]


def onnx_dequantized(quantized: QuantizedWeight, *, unsigned: bool = False) -> Floats:
    """What DequantizeLinear of opset 24 makes of the integers, in ONNX's reference."""
    kind = {4: "INT4", 8: "INT8"}[quantized.bits]
    shift = (1 << (quantized.bits - 1)) if unsigned else 0
    zero = quantized.zero_points
    if unsigned and zero is None:
        zero = np.zeros(quantized.scales.shape, np.int8)

    def constant(name: str, integers: NDArray[np.int8]) -> onnx.TensorProto:
        moved = (integers.astype(np.int16) + shift).astype(np.uint8)
        raw = moved
        if quantized.bits == 4:
            nibbles = (moved & 15).astype(np.int8)
            raw = pack_int4(((nibbles ^ 8) - 8).astype(np.int8))
        data_type = getattr(TensorProto, ("U" if unsigned else "") + kind)
        return helper.make_tensor(name, data_type, integers.shape, raw.tobytes(), raw=True)

    scales = onnx.numpy_helper.from_array(quantized.scales, "s")
    initializers = [constant("q", quantized.values), scales]
    if zero is not None:
        initializers.append(constant("z", zero))
    node = helper.make_node(
        "DequantizeLinear", ["q", "s", *["z"][: zero is not None]], ["w"],
        axis=quantized.axis, block_size=quantized.block or 0,
    )  # fmt: skip
    output = helper.make_tensor_value_info("w", TensorProto.FLOAT, quantized.values.shape)
    graph = helper.make_graph([node], "g", [], [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)])
    onnx.checker.check_model(model, full_check=True)
    (result,) = ReferenceEvaluator(model).run(None, {})
    return np.asarray(result)


@pytest.mark.parametrize(("bits", "symmetric"), FORMATS)
@pytest.mark.parametrize("block", [32, 64, 128])
@pytest.mark.parametrize("rows", [96, 81, 20, 1])
def test_blocks_in_onnx(bits: int, symmetric: bool, block: int, rows: int, weight: Floats) -> None:
    """ONNX reads the same weight, as signed and as unsigned integers, also with a short block."""
    quantized = quantize_blocks(weight[:rows], bits, block, symmetric=symmetric)
    np.testing.assert_array_equal(quantized.dequantized(), onnx_dequantized(quantized))
    unsigned = onnx_dequantized(quantized, unsigned=True)
    np.testing.assert_array_equal(quantized.dequantized(), unsigned)
    assert quantized.scales.shape == (-(-rows // block), 40)
    assert (quantized.zero_points is None) == symmetric


@pytest.mark.parametrize(
    ("shape", "axis"), [((96, 40), 1), ((96, 40), 0), ((8, 3, 3, 5), 0), ((7,), 0), ((3, 4, 5), 2)]
)
def test_channels_in_onnx(shape: tuple[int, ...], axis: int) -> None:
    """Per channel: ONNX reads the same weight, and the rounding is to the nearest."""
    w = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    quantized = quantize_per_channel(w, axis)
    np.testing.assert_array_equal(quantized.dequantized(), onnx_dequantized(quantized))
    assert quantized.values.min() >= -127
    others = tuple(i for i in range(w.ndim) if i != axis)
    np.testing.assert_allclose(quantized.scales, np.abs(w).max(others) / 127, rtol=1e-6)
    scales = np.expand_dims(quantized.scales, others)
    assert (np.abs(w - quantized.dequantized()) <= scales * (0.5 + 1e-4)).all()


magnitudes = st.one_of(
    st.just(0.0), st.floats(-(2.0**100), 2.0**100, width=32), st.floats(-2, 2, width=32)
)


@pytest.mark.parametrize(("bits", "symmetric"), FORMATS)
@settings(deadline=None, max_examples=40)
@given(w=arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=magnitudes))
def test_error_is_half_a_step(bits: int, symmetric: bool, w: Floats) -> None:
    """Without a search nothing is clipped: |w - dq| <= scale / 2. Zero stays zero."""
    quantized = quantize_blocks(w, bits, symmetric=symmetric, search=False)
    scales = np.repeat(quantized.scales, 32, 0)[: len(w)]
    error = np.abs(w.astype(np.float64) - quantized.dequantized())
    # below float32's normal numbers a block counts as zeros
    assert (error <= scales.astype(np.float64) * (0.5 + 1e-4)).all()
    assert not quantized.dequantized()[w == 0].any()
    searched = quantize_blocks(w, bits, symmetric=symmetric)
    assert not searched.dequantized()[w == 0].any()


@pytest.mark.parametrize(("bits", "symmetric"), FORMATS)
def test_search_is_never_worse(bits: int, symmetric: bool, weight: Floats) -> None:
    """In each block of each column the squared error does not grow, and at 4 bits it shrinks."""
    errors = {}
    for search in (False, True):
        quantized = quantize_blocks(weight, bits, symmetric=symmetric, search=search)
        errors[search] = ((weight - quantized.dequantized()) ** 2).reshape(3, 32, -1).sum(1)
    assert (errors[True] <= errors[False] * (1 + 1e-5)).all()
    assert errors[True].sum() < errors[False].sum() * (0.95 if bits == 4 else 1)


def test_asymmetric_takes_lopsided_weights() -> None:
    """Weights of one sign use all sixteen levels: about half the error of symmetric ones."""
    w = np.random.default_rng(0).uniform(0, 1, (64, 32)).astype(np.float32)
    error = {
        symmetric: np.abs(w - quantize_blocks(w, symmetric=symmetric).dequantized()).mean()
        for symmetric in (True, False)
    }
    assert error[False] < 0.65 * error[True]


def test_both_ends_of_the_symmetric_range() -> None:
    """A negative extreme becomes -8; a positive one 7, and may be clipped where that is better."""
    quantized = quantize_blocks(np.float32([[-8.0], [4.0]]), search=False)
    assert quantized.values.ravel().tolist() == [-8, 4]
    quantized = quantize_blocks(np.float32([[7.0], [-4.0]]), search=False)
    assert quantized.values.ravel().tolist() == [7, -4]
    grid = np.repeat(np.float32([[-7.0, -5.0, -3.0, 1.0, 3.0, 5.0]]).T, 5, 0)
    quantized = quantize_blocks(np.concatenate([grid, np.float32([[7.9]])]))
    np.testing.assert_allclose(quantized.scales, 1, rtol=0.01)


def test_importance_decides() -> None:
    """The important rows' error shrinks at the others' expense; a constant changes nothing."""
    w = np.random.default_rng(0).normal(size=(64, 50)).astype(np.float32)
    importance = np.ones(64, np.float32)
    importance[::8] = 1000
    plain, weighed = quantize_blocks(w), quantize_blocks(w, importance=importance)
    error = [((w - q.dequantized()) ** 2).mean(1) for q in (plain, weighed)]
    assert error[1][::8].mean() < 0.5 * error[0][::8].mean()
    for constant in (0.0, 1e-30, 7.0):
        same = quantize_blocks(w, importance=np.full(64, constant))
        np.testing.assert_array_equal(same.values, plain.values)


@pytest.mark.parametrize(("bits", "symmetric"), FORMATS)
def test_zeros(bits: int, symmetric: bool) -> None:
    """A block or channel of zeros has scale 1 and stays zero."""
    quantized = quantize_blocks(np.zeros((40, 3), np.float32), bits, symmetric=symmetric)
    channels = quantize_per_channel(np.zeros((40, 3), np.float32), 1)
    for made in (quantized, channels):
        assert (made.scales == 1).all()
        assert not made.dequantized().any()


def test_wide_weights_are_done_in_columns(weight: Floats) -> None:
    """Columns do not know each other."""
    wide = np.tile(weight, (1, 120))
    assert wide.shape[1] > 2 * 2048
    for symmetric in (True, False):
        quantized = quantize_blocks(wide, symmetric=symmetric)
        narrow = quantize_blocks(weight, symmetric=symmetric)
        repeated = np.tile(narrow.dequantized(), (1, 120))
        np.testing.assert_array_equal(quantized.dequantized(), repeated)


def test_half_precision_weights(weight: Floats) -> None:
    """float16 and bfloat16 weights are quantised as their values in float32."""
    for kind in (np.dtype(np.float16), helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)):
        half = weight.astype(kind)
        np.testing.assert_array_equal(
            quantize_blocks(half).values, quantize_blocks(half.astype(np.float32)).values
        )
        np.testing.assert_array_equal(
            quantize_per_channel(half, 1).values,
            quantize_per_channel(half.astype(np.float32), 1).values,
        )


GOOD: dict[str, Any] = {"weight": np.ones((4, 3), np.float32)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 3}, "4 or 8 bits, found 3"),
        ({"block": 48}, "one of .32, 64, 128., found 48"),
        ({"weight": np.ones(4, np.float32)}, r"a weight \[K, N\], found \[4\]"),
        ({"weight": np.ones((0, 3), np.float32)}, r"found \[0, 3\]"),
        ({"weight": np.ones((4, 3), np.int64)}, "takes floats, found int64"),
        ({"weight": np.full((4, 3), np.nan, np.float32)}, "NaN or infinite"),
        ({"importance": np.ones(3)}, r"importance must be \[4\], found \[3\]"),
        ({"importance": np.full(4, -1.0)}, "must not be negative"),
        ({"importance": np.full(4, np.inf)}, "NaN or infinite"),
    ],
)
def test_unusable_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize_blocks(**{**GOOD, **arguments})


def test_unusable_channels() -> None:
    with pytest.raises(InputError, match="has no axis 2"):
        quantize_per_channel(np.ones((4, 3), np.float32), 2)
    with pytest.raises(InputError, match="NaN or infinite"):
        quantize_per_channel(np.full((4, 3), np.inf, np.float32), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"bits": 5},
        {"axis": 2},
        {"scales": np.ones((1, 3), np.float64)},
        {"scales": np.zeros((1, 3), np.float32)},
        {"scales": np.full((1, 3), np.inf, np.float32)},
        {"scales": np.ones((2, 3), np.float32)},
        {"values": np.full((4, 3), 8, np.int8)},
        {"values": np.ones((4, 3), np.int16)},
        {"zero_points": np.zeros(3, np.int8)},
        {"zero_points": np.full((1, 3), -9, np.int8)},
        {"block": None},
    ],
)
def test_a_quantised_weight_is_whole(changes: dict[str, Any]) -> None:
    """Parts that do not belong together are refused when they meet."""
    parts: dict[str, Any] = {
        "values": np.ones((4, 3), np.int8), "scales": np.ones((1, 3), np.float32),
        "zero_points": None, "bits": 4, "axis": 0, "block": 32,
    }  # fmt: skip
    QuantizedWeight(**parts)
    with pytest.raises(ValueError, match="scales|bits|values|integers|zero points"):
        QuantizedWeight(**{**parts, **changes})
