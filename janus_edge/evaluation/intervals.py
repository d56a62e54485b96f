"""How sure a share is: the Wilson score interval, also of outcomes that come in rounds or in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

#: Two-sided 95 % point of the normal distribution.
Z = 1.959963984540054


def wilson(right: float, total: float) -> tuple[float, float]:
    """The 95 % interval of a share of which ``right`` of ``total`` were seen.

    (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n), which stays within 0 and 1 and
    says something even when all were right (E. B. Wilson, "Probable inference, the law of
    succession, and statistical inference", 1927). Raises ValueError unless 0 <= right <= total and
    total > 0.
    """
    if not 0 <= right <= total or not total:
        raise ValueError(f"{right} of {total} is no share")
    p, spread = right / total, Z * Z / total
    middle = p + spread / 2
    reach = math.sqrt(spread * (p * (1 - p) + spread / 4))
    low, high = (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)
    # rounding must not part the ends from a share of 0 or 1
    return min(max(0.0, low), p), max(min(1.0, high), p)


def wilson_of_rounds(rounds: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """The same for outcomes of which those of a round may hang together; rounds are equally large.

    Wilson's interval at the effective number p (1 - p) / v of outcomes, where v is the variance of
    the mean over rounds: few if a round tends to be right or wrong as a whole (Franco, Little,
    Louis and Slud, "Comparative study of confidence intervals for proportions in complex sample
    surveys", 2019). Never taken as more than there are; a single round counts as one outcome.
    Raises ValueError for no rounds, or rounds of unequal length.
    """
    if not rounds or not rounds[0] or len({len(outcomes) for outcomes in rounds}) > 1:
        raise ValueError("rounds must be equally large, and there must be one")
    if len(rounds) == 1:
        return wilson(fmean(rounds[0]), 1)
    total = len(rounds) * len(rounds[0])
    shares = [fmean(outcomes) for outcomes in rounds]
    p, v = fmean(shares), variance(shares) / len(rounds)
    effective = min(total, p * (1 - p) / v) if v else total
    return wilson(p * effective, effective)


def matched_difference(gained: int, lost: int, total: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares that were seen on the same ``total`` cases.

    ``gained`` cases are right only in the first share, ``lost`` ones only in the second. Wald's
    interval with half a case added to each of the four outcomes of a pair, so that it has a width
    even where no pair differs (Agresti and Min, "Simple improved confidence intervals for comparing
    matched proportions", 2005). Raises ValueError for negative numbers, or more than ``total``.
    """
    if min(gained, lost) < 0 or gained + lost > total or not total:
        raise ValueError(f"{gained} gained and {lost} lost of {total} are no outcomes")
    difference = (gained - lost) / (total + 2)
    spread = Z * math.sqrt(((gained + lost + 1) / (total + 2) - difference**2) / (total + 2))
    return difference - spread, difference + spread
