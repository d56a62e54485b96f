"""The choice of a window's width from costs and running outcomes."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.runtime.window_policy import WIDTHS, BestWindow, FixedWindow

FREE = dict.fromkeys(WIDTHS, 1.0)
#: Every position costs as much as a whole pass of one.
LINEAR = {w: float(w) for w in WIDTHS}
#: Free up to eight positions, as where reading the weights takes all the time.
READING = {w: max(1.0, w / 8) for w in WIDTHS}


def after(policy: BestWindow, gained: list[int], width: int) -> BestWindow:
    for _ in range(600):
        policy.note(np.array(gained), width)
    return policy


def test_fixed() -> None:
    policy = FixedWindow(5)
    policy.note(np.array([1]), 5)
    assert policy.width(3) == 5


def test_free_positions_are_taken() -> None:
    assert BestWindow(FREE).width(1) == WIDTHS[-1]


def test_costly_positions_are_not() -> None:
    assert BestWindow(LINEAR).width(1) == 1


@pytest.mark.parametrize(("gained", "width", "best"), [(8, 8, 8), (1, 8, 8), (2, 8, 8)])
def test_reading_is_shared(gained: int, width: int, best: int) -> None:
    """Up to where a pass costs no more, width costs nothing, however rarely guesses come true."""
    assert after(BestWindow(READING), [gained], width).width(1) <= best


def test_survival_decides() -> None:
    """Where positions cost a little, good guesses are worth wide windows and bad ones are not."""
    costs = {w: 1 + 0.05 * w for w in WIDTHS}
    good, bad = after(BestWindow(costs), [15], 16), after(BestWindow(costs), [1], 16)
    assert good.survival[14] > 0.8
    assert good.survival[15] < 0.5 * good.survival[14]
    np.testing.assert_allclose(bad.survival[1:], 0, atol=0.25)
    assert good.width(1) >= 16
    assert bad.width(1) <= 2
    middling = after(BestWindow(costs), [1, 2, 4, 16], 16)
    assert middling.width(16) < middling.width(1)


def test_survival_is_that_of_the_outcomes() -> None:
    """With outcomes that all count the same and no more than they say: of four passes of width 4 one
    gained 1 code, one 3 and two 4; a pass of width 2 that gained all of it says nothing beyond."""
    policy = BestWindow({1: 1.0, 2: 1.0, 4: 1.0})
    for _ in range(900):
        policy.note(np.array([1, 3, 4, 4]), 4)
    np.testing.assert_allclose(policy.survival, [1, 3 / 4, 3 / 4, 2 / 4], atol=0.03)
    for _ in range(10):
        policy.note(np.array([2, 2]), 2)
    assert policy.survival[1] > 0.76
    ratio = policy.survival[3] / policy.survival[1]
    assert ratio == pytest.approx(2 / 3, abs=0.03)


def test_runs_are_not_taken_for_their_mean() -> None:
    """Half of the passes gain one code, the others all sixteen: guesses of which only one in three comes
    true at first are worth a wide window, as one probability for all would not tell."""
    costs = {w: 1 + 0.1 * w for w in WIDTHS}
    mixed = after(BestWindow(costs), [1, 16], 16)
    assert mixed.survival[15] == pytest.approx(0.5, abs=0.05)
    assert mixed.width(1) >= 16


def test_what_was_learnt_ages() -> None:
    """A width of one tries no guess: after a while wider ones get another chance."""
    policy = after(BestWindow(FREE), [1], 8)
    fresh = BestWindow(FREE).survival
    assert policy.survival[1] < 0.25
    again = after(policy, [1], 1).survival
    assert 0.8 * fresh[1] < again[1] <= fresh[1]


def test_between_and_beyond() -> None:
    policy = BestWindow({1: 1.0, 2: 2.0, 4: 6.0})
    assert [policy.seconds(w) for w in (1, 3, 4, 6)] == [1.0, 4.0, 6.0, 10.0]
