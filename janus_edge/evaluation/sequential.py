"""Paired differences that are tested while pictures come in.

Two models paint the same prompts with the same noise; a round is one picture of each category. What
counts is the mean over rounds of (right of one - right of the other) / categories. It is tested
against a margin at ten planned points. Looking several times costs confidence: the nine interim
looks use intervals of 99.9 %, the last one of 95.9 %, so that all ten hold together with 95 %
(Haybittle 1971, Peto et al. 1976; the sum is Bonferroni's). The last interval is 1.04 times as wide
as that of a test with one look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

LOOKS = 10
_INTERIM, _ALL = 0.001, 0.05  # probability that an interim look, or any look, misses
_LAST = _ALL - (LOOKS - 1) * _INTERIM

WITHIN, BEYOND, OPEN = "within", "beyond", "open"


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference of shares with its interval, and the number of paired rounds."""

    mean: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """``settled`` is 'within' if the loss is below the margin, 'beyond' if above it, or 'open'."""

    settled: str
    difference: Difference


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """Whether a model loses less than ``margin`` (a share), over at most ``planned`` rounds.

    ``categories`` is the number of pictures in a round. Raises ValueError for a margin that is not
    above 0, or no rounds.
    """

    planned: int
    margin: float
    categories: int

    def __post_init__(self) -> None:
        if self.planned < 1 or not self.margin > 0 or self.categories < 1:
            raise ValueError("a test needs a margin above 0, and rounds of at least one picture")

    def looks(self) -> tuple[int, ...]:
        """The numbers of rounds after which the test is taken, in rising order."""
        numbers = {math.ceil(self.planned * k / LOOKS) for k in range(1, LOOKS + 1)}
        return tuple(sorted(numbers))

    def verdict(self, differences: Sequence[float]) -> Verdict:
        """The verdict at the last look that ``differences``, one of each round, reach.

        Raises ValueError if they do not reach the first look, or are more than planned.
        """
        reached = [look for look in self.looks() if look <= len(differences)]
        if not reached or len(differences) > self.planned:
            raise ValueError(
                f"{len(differences)} rounds: a verdict needs {self.looks()[0]} to {self.planned}"
            )
        for look in reached:
            missed = _LAST if look == self.planned else _INTERIM
            found = difference(differences[:look], self.categories, missed)
            settled = WITHIN if found.low > -self.margin else OPEN
            settled = BEYOND if found.high < -self.margin else settled
            if settled != OPEN:
                break
        return Verdict(settled, found)


def difference(differences: Sequence[float], categories: int, missed: float = _ALL) -> Difference:
    """The mean of paired differences with the interval that misses with probability ``missed``.

    Wald's interval with two more rounds, in one of which a single picture is gained and in the other
    lost, so that it has a width even where no pair differs (in the manner of Agresti and Min, see
    ``intervals.matched_difference``). Raises ValueError for no rounds.
    """
    if not differences:
        raise ValueError("no rounds to compare")
    count, one = len(differences) + 2, 1 / categories
    middle = sum(differences) / count
    squares = sum(d * d for d in differences) + 2 * one * one
    spread = math.sqrt(max(0.0, squares / count - middle * middle) / count)
    reach = NormalDist().inv_cdf(1 - missed / 2) * spread
    mean = sum(differences) / len(differences)
    return Difference(mean, middle - reach, middle + reach, len(differences))
