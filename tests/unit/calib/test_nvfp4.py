"""NVFP4: what the format can hold, and scales that every float type can store."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from janus_edge.calib.nvfp4 import BLOCK, quantize_nvfp4, stored_scales
from janus_edge.errors import InputError

Floats = NDArray[np.float32]
magnitudes = st.one_of(
    st.just(0.0), st.floats(-(2.0**20), 2.0**20, width=32), st.floats(-2, 2, width=32)
)
#: E2M1, by its definition: two exponent bits and one of mantissa.
LEVELS = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6])


@settings(deadline=None, max_examples=60)
@given(w=arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=magnitudes))
def test_the_format(w: Floats) -> None:
    """Values are E2M1. Scales are positive and exact E4M3 multiples of a power of two that float16
    holds. Zero stays zero."""
    quantized = quantize_nvfp4(w)
    assert quantized.scales.shape == (-(-len(w) // BLOCK), w.shape[1])
    assert np.isin(np.abs(quantized.values.astype(np.float32)), LEVELS).all()
    unit = quantized.scale_unit
    assert unit is not None
    assert np.log2(unit) % 1 == 0
    assert np.float16(unit) == unit
    multiples = stored_scales(quantized).astype(np.float32)
    assert (multiples > 0).all()
    np.testing.assert_array_equal(multiples * np.float32(unit), quantized.scales)
    assert not quantized.dequantized()[w == 0].any()


def test_the_error_of_a_block(weight: Floats) -> None:
    """A weight is off by at most a step between 4 and 6 (a sixth of the block's largest) plus the
    rounding of the scale. The mean error is about 20 dB below the weights."""
    error = np.abs(weight - quantize_nvfp4(weight).dequantized())
    largest = np.repeat(np.abs(weight).reshape(6, BLOCK, -1).max(1), BLOCK, 0)
    assert (error <= largest / 6 * 1.2).all()
    assert 10 * np.log10(np.sum(weight**2) / np.sum(error**2)) > 19


def test_a_block_may_end_at_4() -> None:
    """Values around five sixths of the largest fall between 4 and 6, so such a block ends at 4."""
    w = np.zeros((BLOCK, 1), np.float32)
    w[0], w[1:9] = 1, 0.75
    quantized = quantize_nvfp4(w)
    assert np.unique(quantized.values.astype(np.float32)).tolist() == [0, 3, 4]
    np.testing.assert_allclose(quantized.dequantized(), w)


def test_importance_decides() -> None:
    """Important rows decide between the two ends."""
    w = np.zeros((BLOCK, 1), np.float32)
    w[0], w[1], w[2:9] = 1, 0.75, 0.083
    importance = np.ones(BLOCK, np.float32)
    importance[1] = 100
    error = [np.abs(w - quantize_nvfp4(w, i).dequantized())[1] for i in (None, importance)]
    assert error[1] < error[0]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(16, np.float32), r"a weight \[K, N\], found \[16\]"),
        (np.full((16, 2), np.nan, np.float32), "NaN or infinite"),
    ],
)
def test_unusable_weights(weight: Floats, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize_nvfp4(weight)
