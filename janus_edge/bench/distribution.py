"""Samples of one duration, reduced to what a report keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Distribution:
    """``count`` durations in seconds; percentiles between two samples are interpolated linearly."""

    count: int
    minimum: float
    median: float
    p90: float
    p99: float
    maximum: float
    mean: float

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a distribution has at least one sample, found {self.count}")
        ordered = (self.minimum, self.median, self.p90, self.p99, self.maximum)
        if not all(math.isfinite(v) for v in (*ordered, self.mean)):
            raise ValueError("a distribution's figures must be finite")
        if list(ordered) != sorted(ordered) or not self.minimum <= self.mean <= self.maximum:
            raise ValueError(f"minimum <= median <= p90 <= p99 <= maximum must hold: {ordered}")

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Distribution:
        """The distribution of samples; raises ValueError for none."""
        if not seconds:
            raise ValueError("a distribution has at least one sample, found 0")
        low, median, p90, p99, high = (
            float(v) for v in np.percentile(np.asarray(seconds, np.float64), (0, 50, 90, 99, 100))
        )
        # rounding may put the mean of equal samples beside them
        mean = min(max(float(np.mean(seconds)), low), high)
        return cls(len(seconds), low, median, p90, p99, high, mean)
