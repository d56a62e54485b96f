"""Tests of paired differences: an early end must not cost confidence."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.evaluation.sequential import (
    BEYOND,
    LOOKS,
    OPEN,
    WITHIN,
    SequentialTest,
    difference,
)

CATEGORIES = 7


def rounds_of(rng: np.random.Generator, count: int, gained: float, lost: float) -> list[float]:
    """Rounds of 7 pairs each, of which these shares are right in one picture only."""
    p = (gained, lost, 1 - gained - lost)
    return list(rng.choice([1.0, -1.0, 0.0], (count, CATEGORIES), p=p).mean(1))


def test_looks() -> None:
    """Ten looks at most, the last at the planned number."""
    assert SequentialTest(100, 0.01, 7).looks() == tuple(range(10, 101, 10))
    assert SequentialTest(3, 0.01, 7).looks() == (1, 2, 3)
    assert len(SequentialTest(1001, 0.01, 7).looks()) == LOOKS


@pytest.mark.parametrize("loss", [0.02, 0.025])
def test_rarely_wrong(loss: float) -> None:
    """A loss of the margin or more passes as within it in 2.5 % of the tests at most."""
    rng, test, passed, trials = np.random.default_rng(0), SequentialTest(300, 0.02, 7), 0, 1000
    for _ in range(trials):
        verdict = test.verdict(rounds_of(rng, 300, 0.03, 0.03 + loss))
        passed += verdict.settled == WITHIN
    assert passed / trials < 0.025 + 0.01  # 0.01 is two standard deviations of the count


def test_covers() -> None:
    """The interval of an uninterrupted test holds the true difference in 95 % of the cases."""
    rng, missed, trials = np.random.default_rng(1), 0, 1000
    for _ in range(trials):
        found = difference(rounds_of(rng, 200, 0.02, 0.05), CATEGORIES)
        missed += not found.low <= -0.03 <= found.high
    assert missed / trials == pytest.approx(0.05, abs=0.02)


def test_ends_early() -> None:
    """Where hardly anything differs, or much is lost, a tenth or a few tenths settle it."""
    rng, test = np.random.default_rng(2), SequentialTest(2000, 0.01, 7)
    within = test.verdict(rounds_of(rng, 2000, 0.002, 0.002))
    assert (within.settled, within.difference.rounds) == (WITHIN, 200)
    beyond = test.verdict(rounds_of(rng, 2000, 0.02, 0.08))
    assert (beyond.settled, beyond.difference.rounds) == (BEYOND, 200)
    doubtful = test.verdict(rounds_of(rng, 2000, 0.03, 0.04))
    assert (doubtful.settled, doubtful.difference.rounds) == (OPEN, 2000)


def test_equal_pictures_are_not_certain() -> None:
    """Few pairs without a difference leave a width: they do not settle a small margin."""
    assert SequentialTest(10, 0.01, 7).verdict([0.0] * 10).settled == OPEN
    found = difference([0.0] * 10, CATEGORIES)
    assert found.low < 0 < found.high
    assert found.mean == 0


def test_settled_stays_settled() -> None:
    """A verdict is that of the first look that settled, whatever comes after."""
    test = SequentialTest(100, 0.2, 7)
    assert test.verdict([0.0] * 20 + [-1.0] * 80).settled == WITHIN


def test_invalid() -> None:
    """Nothing to test, nothing to look at, and more than was planned are refused."""
    for planned, margin in ((0, 0.01), (10, 0.0), (10, float("nan"))):
        with pytest.raises(ValueError, match="a test needs a margin above 0"):
            SequentialTest(planned, margin, 7)
    for count in (1, 101):
        with pytest.raises(ValueError, match="a verdict needs 10 to 100"):
            SequentialTest(100, 0.01, 7).verdict([0.0] * count)
    with pytest.raises(ValueError, match="no rounds"):
        difference([], 7)
