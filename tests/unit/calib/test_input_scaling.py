"""SmoothQuant and AWQ: factors leave the product alone and make it easier to quantise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_edge.calib.awq import awareness_factors, scale_for_blocks
from janus_edge.calib.input_scaling import InputScaling
from janus_edge.calib.integers import quantize_blocks, quantize_per_channel
from janus_edge.calib.smoothing import smooth, smoothing_factors
from janus_edge.errors import InputError

Floats = NDArray[np.float32]
METHODS = pytest.mark.parametrize("method", [smooth, scale_for_blocks])


@pytest.fixture
def weights(weight: Floats) -> list[Floats]:
    """Three weights that read one input, as q, k and v do."""
    return [weight, weight[:, :16] * 3, weight[::-1, :8].copy()]


@METHODS
def test_the_product_stays(
    method: Callable[..., InputScaling], outliers: Floats, weights: list[Floats]
) -> None:
    """(X / s)(s W) = X W, with factors that are positive and finite."""
    scaling = method(outliers, weights)
    assert scaling.alpha is not None
    assert scaling.factors.dtype == np.float32
    assert np.isfinite(scaling.factors).all()
    assert (scaling.factors > 0).all()
    for w in weights:
        folded = (outliers / scaling.factors) @ (scaling.factors[:, None] * w)
        np.testing.assert_allclose(folded, outliers @ w, rtol=1e-3, atol=1e-3)


def test_smoothing_helps_with_outliers(outliers: Floats, weights: list[Floats]) -> None:
    """Channels a hundred times the others' size: the error falls to less than a quarter."""
    scaling = smooth(outliers, weights)
    assert scaling.error_after < scaling.error_before / 4


def test_awareness_helps_with_salient_channels(outliers: Floats, weights: list[Floats]) -> None:
    """Weights that meet large inputs are rounded more finely: less than half the error."""
    for search in (False, True):
        scaling = scale_for_blocks(outliers, weights, search=search)
        assert scaling.error_after < scaling.error_before / 2


@METHODS
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_never_worse(method: Callable[..., InputScaling], spread: float, weight: Floats) -> None:
    """Where no exponent helps, the input is left alone."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(64, 96)) * np.exp(spread * rng.normal(size=96))).astype(np.float32)
    scaling = method(rows, [weight])
    assert scaling.error_after <= scaling.error_before
    unchanged = method(rows, [weight], alphas=())
    assert unchanged.alpha is None
    assert unchanged.error_after == unchanged.error_before == scaling.error_before
    assert (unchanged.factors == 1).all()


def test_the_errors_are_those_of_the_integers(outliers: Floats, weight: Floats) -> None:
    """Both figures can be had again from the factors alone."""
    exact = outliers @ weight

    def error(actual: Floats) -> float:
        return float(np.sum((actual - exact) ** 2) / np.sum(exact**2))

    smoothed = smooth(outliers, [weight])
    for s, expected in (
        (np.ones(96, np.float32), smoothed.error_before),
        (smoothed.factors, smoothed.error_after),
    ):
        x = outliers / s
        scale = np.abs(x).max() / 127
        w = quantize_per_channel(weight * s[:, None], 1).dequantized()
        assert error(np.rint(x / scale) * scale @ w) == pytest.approx(expected, rel=1e-3)
    aware = scale_for_blocks(outliers, [weight], block=64)
    for s, expected in (
        (np.ones(96, np.float32), aware.error_before),
        (aware.factors, aware.error_after),
    ):
        blocked = quantize_blocks(weight * s[:, None], block=64, search=False)
        assert error(outliers / s @ blocked.dequantized()) == pytest.approx(expected, rel=1e-3)


def test_the_formulas() -> None:
    """s = max|X|^a / max|W|^(1-a) over all weights, and s = mean|X|^a around 1."""
    x = np.float32([4.0, 0.25])
    weights = [np.float32([[0.5, -1], [0.01, 0.0]]), np.float32([[-2.0], [0.125]])]
    np.testing.assert_allclose(smoothing_factors(x, weights, 0.0), [1 / 2, 8])
    np.testing.assert_allclose(smoothing_factors(x, weights, 1.0), x)
    np.testing.assert_allclose(
        smoothing_factors(x, weights, 0.5), np.sqrt(x / [2, 0.125]), rtol=1e-6
    )
    np.testing.assert_allclose(awareness_factors(x, 0.0), 1)
    np.testing.assert_allclose(awareness_factors(x, 0.5), [2, 0.5])
    np.testing.assert_allclose(awareness_factors(x, 1.0), [4, 0.25])


@METHODS
def test_dead_channels(
    method: Callable[..., InputScaling], outliers: Floats, weights: list[Floats]
) -> None:
    """A channel never seen, or that no weight reads, gets a factor that does no harm."""
    rows = outliers.copy()
    rows[:, [2, 5]] = 0
    weights = [w.copy() for w in weights]
    for w in weights:
        w[[5, 7]] = 0
    scaling = method(rows, weights)
    assert (scaling.factors > 0).all()
    assert np.isfinite(scaling.factors).all()
    assert scaling.error_after < scaling.error_before
    nothing = method(np.zeros_like(rows), weights)
    assert (nothing.factors == 1).all()
    assert (nothing.error_before, nothing.error_after) == (0, 0)


@METHODS
def test_figures_of_all_the_data(
    method: Callable[..., InputScaling], outliers: Floats, weight: Floats
) -> None:
    """Maxima or means of the whole calibration data replace those of the sample rows."""
    name = "input_maximum" if method is smooth else "mean_abs"
    own = np.abs(outliers).max(0) if method is smooth else np.abs(outliers).mean(0)
    given: dict[str, Any] = {name: own}
    np.testing.assert_array_equal(
        method(outliers, [weight], **given).factors, method(outliers, [weight]).factors
    )
    for wrong in (own[:5], -own, own * np.nan):
        with pytest.raises(InputError):
            method(outliers, [weight], **{name: wrong})


@METHODS
@pytest.mark.parametrize(
    ("rows", "weights", "message"),
    [
        (np.ones((4, 3), np.float32), [], "at least one weight"),
        (np.ones((0, 3), np.float32), [np.ones((3, 2), np.float32)], "sample rows"),
        (np.ones(3, np.float32), [np.ones((3, 2), np.float32)], "sample rows"),
        (np.ones((4, 3), np.float32), [np.ones((2, 3), np.float32)], "does not take rows of 3"),
        (np.full((4, 3), np.nan, np.float32), [np.ones((3, 2), np.float32)], "NaN or infinite"),
        (np.ones((4, 3), np.float32), [np.full((3, 2), np.inf, np.float32)], "NaN or infinite"),
    ],
)
def test_unusable_operands(
    method: Callable[..., InputScaling], rows: Floats, weights: list[Floats], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        method(rows, weights)
