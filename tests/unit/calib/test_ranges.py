"""Ranges: against brute force over the values, and against distributions with known answers."""

from __future__ import annotations

from math import erfc, exp, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from janus_edge.calib import ranges
from janus_edge.calib.histogram import Histogram
from janus_edge.calib.ranges import RANGES, scale_of
from janus_edge.errors import InputError

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=200_000).astype(np.float32)
UNIFORM = RNG.uniform(-1, 1, 200_000).astype(np.float32)
OUTLIERS = np.concatenate([NORMAL, np.float32([60, -70, 80])])


def histogram(values: NDArray[np.float32]) -> Histogram:
    made = Histogram()
    made.add(values)
    return made


def squared_error(x: NDArray[np.float32], amax: float) -> float:
    scale = amax / 127
    return float(np.mean((np.clip(np.rint(x / scale), -127, 127) * scale - x) ** 2))


@pytest.mark.parametrize("name", RANGES)
@settings(deadline=None, max_examples=20)
@given(values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=30))
def test_every_range_is_usable(name: str, values: list[float]) -> None:
    """0 <= amax <= maximum, 0 only for zeros; the scale is positive in float32."""
    x = np.array(values, np.float32)
    amax = RANGES[name](histogram(x))
    assert 0 <= amax <= np.abs(x).max()
    assert (amax == 0) == (not x.any())
    assert np.float32(scale_of(amax)) > 0


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("factor", [2.0**-30, 2.0**20])
def test_ranges_scale_with_the_values(name: str, factor: float) -> None:
    """Twice the values, twice the range."""
    choose = RANGES[name]
    scaled = choose(histogram(OUTLIERS * np.float32(factor)))
    assert scaled == pytest.approx(choose(histogram(OUTLIERS)) * factor)


@pytest.mark.parametrize("name", RANGES)
def test_zeros_have_scale_one(name: str) -> None:
    assert scale_of(RANGES[name](histogram(np.zeros(5, np.float32)))) == 1.0


@pytest.mark.parametrize("name", RANGES)
def test_nothing_recorded(name: str) -> None:
    with pytest.raises(InputError, match="no values were recorded"):
        RANGES[name](Histogram())


@pytest.mark.parametrize("name", RANGES)
def test_uniform_values_are_not_clipped(name: str) -> None:
    """There is no tail to gain from."""
    assert RANGES[name](histogram(UNIFORM)) > 0.95


def test_maximum_is_exact() -> None:
    assert ranges.maximum(histogram(OUTLIERS)) == 80.0


@pytest.mark.parametrize("share", [0.001, 1.0, 50.0, 99.0, 99.99, 99.9999, 100.0])
@pytest.mark.parametrize("values", [NORMAL, OUTLIERS, np.float32([1, 2, 3])])
def test_percentile_against_sorting(share: float, values: NDArray[np.float32]) -> None:
    """At most a bin above the value that sorting finds."""
    made = histogram(values)
    ordered = np.sort(np.abs(values))
    exact = ordered[int(np.ceil(share / 100 * len(values))) - 1]
    amax = ranges.percentile(made, share)
    assert exact <= amax <= exact + made.width


@pytest.mark.parametrize("share", [0.0, -1.0, 100.1, float("nan")])
def test_percentile_of_nothing(share: float) -> None:
    with pytest.raises(InputError, match="above 0 and at most 100"):
        ranges.percentile(histogram(NORMAL), share)


@pytest.mark.parametrize(
    "values",
    [
        NORMAL,
        UNIFORM,
        OUTLIERS,
        RNG.laplace(size=100_000).astype(np.float32),
        np.maximum(NORMAL, 0),
        RNG.standard_t(3, 100_000).astype(np.float32),
    ],
    ids=["normal", "uniform", "outliers", "laplace", "relu", "student"],
)
def test_squared_error_against_brute_force(values: NDArray[np.float32]) -> None:
    """No range found by trying does clearly better, measured on the values themselves."""
    found = squared_error(values, ranges.mean_squared_error(histogram(values)))
    top = float(np.abs(values).max())
    best = min(squared_error(values, clip) for clip in np.linspace(top / 40, top, 80))
    assert found <= best * 1.01


def test_squared_error_of_a_normal_distribution() -> None:
    """The c that minimises c^2 / (3 * 254^2) + 2 ((1 + c^2) Q(c) - c phi(c)).

    About 3.9 standard deviations (Banner et al., arXiv 1810.05723: 3.92 for 256 levels).
    """

    def expected(c: float) -> float:
        beyond, density = erfc(c / sqrt(2)) / 2, exp(-c * c / 2) / sqrt(2 * pi)
        return c * c / (3 * 254**2) + 2 * ((1 + c * c) * beyond - c * density)

    best = min(np.linspace(3, 5, 2001).tolist(), key=expected)
    assert best == pytest.approx(3.92, rel=0.01)
    assert ranges.mean_squared_error(histogram(NORMAL)) == pytest.approx(best, rel=0.04)


def test_outliers_are_clipped() -> None:
    """A few values far out do not coarsen the grid of all others, except with the maximum.

    The squared error weighs (80 - c)^2 of three against the rounding of 200 000.
    """
    made = histogram(OUTLIERS)
    assert ranges.percentile(made) < 5
    assert ranges.entropy(made) < 10
    assert 10 < ranges.mean_squared_error(made) < 80


def test_entropy_against_its_definition() -> None:
    """The divergence of the range found is the least of all ranges, computed without shortcuts."""
    made = histogram((NORMAL[:20_000] ** 3).astype(np.float32))
    counts = made.counts.astype(float)
    counts[0] = counts[1]

    def divergence(i: int) -> float:
        p, q = counts[:i].copy(), np.zeros(i)
        p[np.flatnonzero(p)[-1]] += counts[i:].sum()
        levels = np.arange(i) * 128 // i
        for level in range(128):
            inside = (levels == level) & (counts[:i] > 0)
            if inside.any():
                q[inside] = counts[:i][levels == level].sum() / inside.sum()
        p, q = p / p.sum(), q / q.sum()
        return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))

    chosen = round(ranges.entropy(made) / made.width)
    others = range(128, 2049, 60)
    assert divergence(chosen) <= min(divergence(i) for i in others) + 1e-12


@pytest.mark.parametrize("amax", [-1.0, float("nan"), float("inf")])
def test_no_scale(amax: float) -> None:
    with pytest.raises(InputError, match="finite and not negative"):
        scale_of(amax)
