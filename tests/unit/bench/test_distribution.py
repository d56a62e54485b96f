"""Percentiles of durations."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.bench.distribution import Distribution


def test_figures_of_known_samples() -> None:
    """0 to 100 in any order: each percentile is its own number."""
    samples = np.random.default_rng(0).permutation(101).astype(float).tolist()
    assert Distribution.of(samples) == Distribution(101, 0, 50, 90, 99, 100, 50)


def test_between_two_samples_is_interpolated() -> None:
    found = Distribution.of([1.0, 2.0])
    assert (found.median, found.p90, found.p99) == pytest.approx((1.5, 1.9, 1.99))


def test_one_sample_is_all_of_it() -> None:
    found = Distribution.of([0.1] * 3)
    assert set(vars_of(found)) == {0.1}


def vars_of(found: Distribution) -> list[float]:
    return [found.minimum, found.median, found.p90, found.p99, found.maximum, found.mean]


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ((0, 1, 1, 1, 1, 1, 1), "at least one sample"),
        ((3, 1, 2, 1.5, 3, 4, 2), "must hold"),
        ((3, 1, 2, 3, 4, 5, 6), "must hold"),
        ((3, 1, 2, 3, 4, float("inf"), 2), "finite"),
    ],
)
def test_impossible_figures(figures: tuple[float, ...], message: str) -> None:
    """What a file may claim but no samples can have."""
    with pytest.raises(ValueError, match=message):
        Distribution(*figures)  # type: ignore[arg-type]


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="found 0"):
        Distribution.of([])
