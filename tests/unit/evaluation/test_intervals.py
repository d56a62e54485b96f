"""Intervals of shares: against scipy's, and where outcomes hang together."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest, multinomial

from janus_edge.evaluation.intervals import Z, matched_difference, wilson, wilson_of_rounds


@pytest.mark.parametrize(
    ("right", "total"), [(0, 1), (1, 1), (0, 10), (3, 10), (39, 40), (40, 40), (777, 1400)]
)
def test_scipy_agrees(right: int, total: int) -> None:
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson(right, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_none_and_all_right() -> None:
    """All right of 10 leaves 28 % open (z^2 / (n + z^2)), and none right the same."""
    open_end = Z**2 / (10 + Z**2)
    assert wilson(0, 10) == (0, pytest.approx(open_end))
    assert wilson(10, 10) == (pytest.approx(1 - open_end), 1)


@pytest.mark.parametrize("total", [1, 3, 7, 280])
def test_the_share_is_within(total: int) -> None:
    for right in range(total + 1):
        low, high = wilson(right, total)
        assert 0 <= low <= right / total <= high <= 1


@pytest.mark.parametrize(("right", "total"), [(-1, 3), (4, 3), (0, 0)])
def test_no_share(right: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"{right} of {total} is no share"):
        wilson(right, total)


def test_rounds_that_stand_or_fall_as_a_whole() -> None:
    """Their outcomes say as much as one outcome a round (less one for the mean)."""
    rounds = [[True] * 7] * 10 + [[False] * 7] * 10
    assert wilson_of_rounds(rounds) == pytest.approx(wilson(9.5, 19))


def test_rounds_never_narrow_the_interval() -> None:
    """Rounds that agree by chance, and rounds all right, count as independent outcomes."""
    assert wilson_of_rounds([[True, False]] * 20) == wilson(20, 40)
    assert wilson_of_rounds([[True, True]] * 20) == wilson(40, 40)


def test_one_round_is_one_outcome() -> None:
    """Nothing tells how much its outcomes hang together."""
    assert wilson_of_rounds([[True] * 7]) == wilson(1, 1)


@pytest.mark.parametrize("rounds", [[], [[]], [[True], [True, False]]])
def test_unequal_rounds(rounds: list[list[bool]]) -> None:
    with pytest.raises(ValueError, match="rounds must be equally large"):
        wilson_of_rounds(rounds)


@pytest.mark.parametrize(("gain", "loss"), [(0.1, 0.1), (0.02, 0.0), (0.25, 0.05), (0.05, 0.3)])
def test_matched_differences_are_covered(gain: float, loss: float) -> None:
    """Over everything that 40 pairs can bring, the interval holds the true difference often enough."""
    total = 40
    seen = [(g, lost) for g in range(total + 1) for lost in range(total + 1 - g)]
    intervals = [matched_difference(gained, lost, total) for gained, lost in seen]
    chances = multinomial.pmf(
        [(gained, lost, total - gained - lost) for gained, lost in seen],
        total,
        [gain, loss, 1 - gain - loss],
    )
    covered = sum(
        chance
        for chance, (low, high) in zip(chances, intervals, strict=True)
        if low <= gain - loss <= high
    )
    assert 0.93 < covered <= 1


def test_matched_differences_are_antisymmetric_and_have_a_width() -> None:
    low, high = matched_difference(7, 2, 50)
    assert matched_difference(2, 7, 50) == pytest.approx((-high, -low))
    assert low < 5 / 50 < high
    low, high = matched_difference(0, 0, 50)
    assert low == -high < 0


@pytest.mark.parametrize(("gained", "lost", "total"), [(-1, 0, 3), (2, 2, 3), (0, 0, 0)])
def test_no_matched_outcomes(gained: int, lost: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"{gained} gained and {lost} lost of {total}"):
        matched_difference(gained, lost, total)
