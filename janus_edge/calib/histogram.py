"""How often which magnitude was seen: a histogram of |x| in bounded memory.

The range is always a power of two, 2**exponent, in 2048 equal bins. A larger value doubles it and
pairs of bins are merged, so that the bins depend on the values alone and not on their order:
adding piece by piece, or merging histograms, gives bit by bit what adding all at once gives. The
exact maximum is kept beside the bins. (TensorRT's calibrator has 2048 bins, too: Migacz, "8-bit
inference with TensorRT", GTC 2017; its range is the first batch's maximum.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import InputError

BINS = 2048

#: The range never lies below 2**-64: what is smaller counts in the first bin, as zero does.
MIN_EXPONENT = -64

_LARGEST = float(np.finfo(np.float32).max)

#: Values worked on at once.
_PIECE = 1 << 18


class Histogram:
    """Counts of float32 |x| in 2048 bins; bin b holds b * width <= |x| < (b + 1) * width.

    ``counts`` [2048] int64, ``exponent`` with range 2**exponent, ``maximum`` the exact largest |x|
    (0.0 before anything was added). The arguments restore a stored histogram; raises ValueError if
    they contradict each other.
    """

    __slots__ = ("counts", "exponent", "maximum")

    def __init__(
        self,
        counts: NDArray[np.int64] | None = None,
        exponent: int = MIN_EXPONENT,
        maximum: float = 0.0,
    ) -> None:
        self.counts = np.zeros(BINS, np.int64) if counts is None else counts
        self.exponent = exponent
        self.maximum = maximum
        if self.counts.shape != (BINS,) or self.counts.dtype != np.int64 or self.counts.min() < 0:
            raise ValueError(f"counts must be {BINS} int64, none of them negative")
        if not math.isfinite(maximum) or maximum < 0 or _exponent(maximum) != exponent:
            raise ValueError(f"exponent {exponent} does not belong to the maximum {maximum}")
        filled = np.flatnonzero(self.counts)
        if (int(filled[-1]) if filled.size else 0) != int(maximum / self.width):
            raise ValueError(f"the maximum {maximum} is not in the last bin that has counts")

    @property
    def width(self) -> float:
        """The width of a bin, a power of two."""
        return math.ldexp(1.0, self.exponent) / BINS

    @property
    def count(self) -> int:
        """How many values were added."""
        return int(self.counts.sum())

    def add(self, values: NDArray[Any]) -> None:
        """Count |values|: any shape and float type.

        Raises InputError, and counts nothing, if a value is no number, infinite or beyond float32.
        """
        if values.dtype.kind != "f":
            raise InputError(f"a histogram counts floats, found {values.dtype}; convert them")
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())  # NaN comes through both
        if not max(-low, high) <= _LARGEST or not math.isfinite(low + high):
            raise InputError(
                f"calibration met a value that is not a finite float32 (from {low} to {high}): "
                "the model overflows on this input; export it in fp32 or bf16 and calibrate that"
            )
        self._cover(float(np.float32(max(-low, high))))
        per_unit = np.float32(1 / self.width)  # exact: a power of two
        flat = values.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            magnitudes = np.abs(flat[start : start + _PIECE]).astype(np.float32, copy=False)
            bins = (magnitudes * per_unit).astype(np.int64)
            self.counts += np.bincount(bins, minlength=BINS)

    def merge(self, other: Histogram) -> None:
        """Count what ``other`` counted, which stays as it is."""
        self._cover(other.maximum)
        self.counts += _doubled(other.counts, self.exponent - other.exponent)

    def _cover(self, peak: float) -> None:
        """Widen the range until it holds ``peak``."""
        self.maximum = max(self.maximum, peak)
        exponent = _exponent(self.maximum)
        self.counts = _doubled(self.counts, exponent - self.exponent)
        self.exponent = exponent


def _exponent(peak: float) -> int:
    """The least exponent, from -64 on, with peak < 2**exponent."""
    return max(math.frexp(peak)[1], MIN_EXPONENT) if peak else MIN_EXPONENT


def _doubled(counts: NDArray[np.int64], times: int) -> NDArray[np.int64]:
    """The counts over a range that is 2**times as wide."""
    if not times:
        return counts
    merged = counts.reshape(-1, min(1 << times, BINS)).sum(1)
    return np.concatenate([merged, np.zeros(BINS - len(merged), np.int64)])
