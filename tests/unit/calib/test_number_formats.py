"""int8 and fp8 match their definitions, and so does what depends on their levels."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from janus_edge.calib import ranges
from janus_edge.calib.histogram import Histogram
from janus_edge.calib.integers import quantize_per_channel
from janus_edge.calib.number_formats import FORMATS, FP8, INT8, NumberFormat


def test_the_levels_of_fp8() -> None:
    """E4M3 is m 2**(e - 3), with m from 8 to 15 and e from -6 to 8, and m below 8 for the least e. 480
    is left out because its code is NaN."""
    normal = {m * 2.0 ** (e - 3) for e in range(-6, 9) for m in range(8, 16)} - {480.0}
    small = {m * 2.0**-9 for m in range(8)}
    assert FP8.levels.tolist() == sorted(normal | small)
    assert (FP8.largest, INT8.largest) == (448, 127)


@pytest.mark.parametrize("numbers", FORMATS.values(), ids=list(FORMATS))
def test_rounding(numbers: NumberFormat) -> None:
    """Values round to the nearest level and never beyond the largest, to infinity or to NaN."""
    x = np.random.default_rng(0).normal(size=5000).astype(np.float32) * numbers.largest
    rounded = numbers.rounded(x).astype(np.float32)
    levels = np.concatenate([-numbers.levels, numbers.levels])
    nearest = np.abs(x[:, None] - levels).min(1)
    np.testing.assert_array_equal(np.abs(x - rounded), nearest)
    assert np.abs(rounded).max() == numbers.largest


def test_weights_per_channel() -> None:
    """A channel's largest weight becomes 448. A weight is off by at most a 16th of itself, or by half
    of the smallest step."""
    w = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    quantized = quantize_per_channel(w, 1, FP8)
    assert quantized.values.dtype == np.dtype(ml_dtypes.float8_e4m3fn)
    np.testing.assert_allclose(quantized.scales, np.abs(w).max(0) / 448, rtol=1e-6)
    assert (np.abs(quantized.values.astype(np.float32)).max(0) == 448).all()
    error = np.abs(w - quantized.dequantized())
    assert (error <= np.maximum(np.abs(w) / 16, quantized.scales * 2.0**-10) * 1.0001).all()


def test_squared_error_of_fp8_against_brute_force() -> None:
    """No range found by search does clearly better, measured on the values themselves."""
    x = np.random.default_rng(1).standard_t(3, 100_000).astype(np.float32)
    histogram = Histogram()
    histogram.add(x)

    def error(amax: float) -> float:
        scale = np.float32(amax / 448)
        return float(np.mean((FP8.rounded(x / scale).astype(np.float32) * scale - x) ** 2))

    top = float(np.abs(x).max())
    found = error(ranges.range_of("mean_squared_error", histogram, FP8))
    assert found <= 1.02 * min(error(clip) for clip in np.linspace(top / 20, top, 60))
    assert ranges.range_of("maximum", histogram, FP8) == top
