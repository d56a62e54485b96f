"""Symmetric ranges for 8-bit inputs: the |x| that maps to the largest number, from a histogram of |x|.

A range ``amax`` becomes ``scale = amax / 127`` for int8 and ``amax / 448`` for fp8
(``number_formats.py``).
Every function takes a Histogram, returns a float with 0 <= amax <= maximum, which is 0 only if
nothing but zeros was seen, and raises InputError for a histogram without values.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from janus_edge.calib.histogram import BINS, Histogram
from janus_edge.calib.number_formats import INT8, NumberFormat
from janus_edge.errors import InputError

#: Number of equal steps in the entropy method.
LEVELS = 127

#: Ranges that the search for the least squared error tries, relative to the maximum.
_CLIPS: list[float] = np.geomspace(1 / 256, 1, 193).tolist()


def scale_of(amax: float, numbers: NumberFormat = INT8) -> float:
    """scale = amax / (the largest of ``numbers``), for an ``amax`` from this module.

    An input that was always zero (or below what float32 can divide by) has scale 1, never 0: zero
    stays zero, nothing is divided by zero, and TensorRT accepts the node, as it takes only
    positive scales. Raises InputError unless ``amax`` is finite and not negative.
    """
    if not 0 <= amax < float("inf"):
        raise InputError(f"a range must be finite and not negative, found {amax}")
    scale = amax / numbers.largest
    return scale if scale >= float(np.finfo(np.float32).tiny) else 1.0


def maximum(histogram: Histogram) -> float:
    """amax = max |x|: nothing is clipped."""
    _check(histogram)
    return histogram.maximum


def percentile(histogram: Histogram, share: float = 99.99) -> float:
    """amax = the least end of a bin below which ``share`` percent of |x| lie, at most max |x|.

    min{ (b + 1) width : counts[0] + ... + counts[b] >= share / 100 * count }. Zeros count as the
    others do. Raises InputError unless 0 < share <= 100.
    """
    _check(histogram)
    if not 0 < share <= 100:
        raise InputError(f"the percentile must be above 0 and at most 100, found {share}")
    below = np.cumsum(histogram.counts)
    # a product may come out above the count that it stands for
    wanted = min(np.ceil(share / 100 * histogram.count), histogram.count)
    end = int(np.searchsorted(below, wanted)) + 1
    return min(end * histogram.width, histogram.maximum)


def entropy(histogram: Histogram) -> float:
    """amax = i width for the i >= 128 that minimises the divergence KL(P || Q).

    P = counts[:i] with all that lies beyond added to its last bin; Q = counts[:i] brought to 128
    levels, each spread evenly over those of its bins that are not empty; both divided by their
    sums; KL = sum P log(P / Q). S. Migacz, "8-bit inference with TensorRT", GTC 2017. The last
    bin is the last that is not empty, as otherwise Q would be 0 where P is not, and a single
    value far out would rule out all ranges but its own. The first bin counts as the second one
    does, as in NVIDIA's pytorch-quantization: exact zeros cost nothing in any range. The result
    is never below 1/16 of the maximum, since a level is at least a bin.
    """
    _check(histogram)
    counts = histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    inside = np.cumsum(counts)
    top = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    best, amax = np.inf, histogram.maximum
    for i in range(LEVELS + 1, top + 1):
        if inside[i - 1] == 0:
            continue
        divergence = _divergence(counts[:i], inside[-1] - inside[i - 1])
        if divergence <= best:
            best, amax = divergence, min(i * histogram.width, histogram.maximum)
    return amax


def mean_squared_error(histogram: Histogram, numbers: NumberFormat = INT8) -> float:
    """amax = the c that minimises the expected squared error of rounding and clipping.

    E(c) = sum_b counts[b] mean_{x in b} (x - round(x))^2, round(x) the nearest of ``numbers`` times
    c / largest, over 193 values of c from max / 256 to max. x is taken as uniform within a bin and
    the mean is exact, so values far below a step, which become 0, do not count with the
    s^2 / 12 of larger values. Banner et al., "Post training 4-bit quantization of convolutional networks
    for rapid-deployment", arXiv 1810.05723, minimise the same for normal and Laplace distributions.
    """
    _check(histogram)
    if not histogram.maximum:
        return 0.0
    # in units of the maximum, whose squares neither vanish nor overflow
    width = histogram.width / histogram.maximum
    ends = np.arange(BINS + 1) * np.float64(width)
    density: NDArray[np.float64] = histogram.counts / (histogram.count * width)
    levels = numbers.levels.astype(np.float64) / numbers.largest
    errors = [
        float(density @ np.diff(_error_below(ends / clip, levels))) * clip**3 for clip in _CLIPS
    ]
    return _CLIPS[int(np.argmin(errors))] * histogram.maximum


def range_of(method: str, histogram: Histogram, numbers: NumberFormat) -> float:
    """Return the ``amax`` that a method of RANGES chooses for inputs of ``numbers``."""
    if method == "mean_squared_error":  # the only method that depends on the number format
        return mean_squared_error(histogram, numbers)
    return RANGES[method](histogram)


def _check(histogram: Histogram) -> None:
    if not histogram.count:
        raise InputError("no values were recorded, so there is no range; calibrate with more data")


def _divergence(counts: NDArray[np.float64], beyond: float) -> float:
    """KL(P || Q) of :func:`entropy`, for a range of which not all bins are empty."""
    levels = LEVELS + 1  # of |x|: 0 to 127
    starts = (np.arange(levels) * len(counts) + levels - 1) // levels
    filled = counts > 0
    bins = np.add.reduceat(filled, starts, dtype=np.int64)
    means = np.add.reduceat(counts, starts) / np.maximum(bins, 1)
    q = np.repeat(means, bins)
    p = counts[filled]
    p[-1] += beyond
    total = float(counts.sum())
    logs = float(p @ np.log(p / q))
    return logs / (total + beyond) + math.log(total / (total + beyond))


def _error_below(x: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral from 0 to x of the squared distance to the nearest of ``levels``."""
    starts = np.concatenate([levels[:1], (levels[:-1] + levels[1:]) / 2])
    ends = starts[1:]
    whole = ((ends - levels[:-1]) ** 3 - (starts[:-1] - levels[:-1]) ** 3) / 3
    before = np.concatenate([[0.0], np.cumsum(whole)])
    cell = np.searchsorted(starts, x, side="right") - 1
    level = levels[cell]
    return np.asarray(before[cell] + ((x - level) ** 3 - (starts[cell] - level) ** 3) / 3)


#: The ways to choose a range, by name.
RANGES: dict[str, Callable[[Histogram], float]] = {
    "maximum": maximum,
    "percentile": percentile,
    "entropy": entropy,
    "mean_squared_error": mean_squared_error,
}
