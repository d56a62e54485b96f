"""The histogram of |x|: what was added counts, not how."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_edge.calib.histogram import BINS, MIN_EXPONENT, Histogram
from janus_edge.errors import InputError


def histogram(*parts: Any) -> Histogram:
    made = Histogram()
    for part in parts:
        made.add(np.asarray(part, np.float32))
    return made


def assert_equal(a: Histogram, b: Histogram) -> None:
    np.testing.assert_array_equal(a.counts, b.counts)
    assert (a.exponent, a.maximum, a.count) == (b.exponent, b.maximum, b.count)


floats = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20)


@settings(deadline=None, max_examples=40)
@given(st.lists(floats, max_size=5), st.randoms())
def test_order_and_pieces_do_not_matter(parts: list[list[float]], random: Any) -> None:
    """Adding in pieces, in any order, and merging all give what adding at once gives."""
    together = histogram([x for part in parts for x in part])
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert_equal(histogram(*shuffled), together)
    merged = Histogram()
    for part in shuffled:
        merged.merge(histogram(part))
    assert_equal(merged, together)
    # and what a restored one is checked for always holds
    assert_equal(Histogram(merged.counts, merged.exponent, merged.maximum), together)


def test_counts_against_numpy() -> None:
    """Bin b holds b width <= |x| < (b + 1) width, over many pieces."""
    x = np.random.default_rng(0).normal(size=(3, 7, 50_000)).astype(np.float32)
    made = histogram(x)
    expected, _ = np.histogram(np.abs(x), BINS, (0, BINS * made.width))
    np.testing.assert_array_equal(made.counts, expected)
    assert made.maximum == np.abs(x).max()
    assert made.maximum < BINS * made.width <= 2 * made.maximum
    assert made.count == x.size


def test_other_floats_and_layouts() -> None:
    """float16, float64 and strided views count as their values in float32."""
    x = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float16)
    once = histogram(x)
    for other in (x, x.astype(np.float64), x.T, x[::-1], np.repeat(x, 2, 1)[:, ::2]):
        made = Histogram()
        made.add(other)
        assert_equal(made, once)
    nearly = Histogram()
    nearly.add(np.array([1 - 1e-12]))  # 1 in float32, the start of a bin
    assert_equal(nearly, histogram([1.0]))


def test_zeros_and_nothing() -> None:
    """Nothing leaves the histogram empty; zeros and what is tiny count in the first bin."""
    assert histogram([]).count == 0
    zeros = histogram([0.0, -0.0, 0.0])
    assert (zeros.counts[0], zeros.count, zeros.maximum) == (3, 3, 0.0)
    assert zeros.exponent == MIN_EXPONENT
    tiny = histogram([1e-45])
    assert (tiny.counts[0], tiny.maximum) == (1, float(np.float32(1e-45)))


def test_the_largest_floats_fit() -> None:
    largest = np.finfo(np.float32).max
    assert histogram([1.0, largest]).counts[[0, -1]].tolist() == [1, 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("place", [0, 2])
def test_what_is_not_finite_is_refused(bad: float, place: int) -> None:
    """An overflow is told, and nothing of that array is counted."""
    made = histogram([1.0])
    x = np.array([0.5, 2.0, 3.0])
    x[place] = bad
    with pytest.raises(InputError, match="overflows on this input"):
        made.add(x)
    assert_equal(made, histogram([1.0]))


def test_both_infinities_are_refused() -> None:
    """Their sum is no number; they are refused all the same."""
    with pytest.raises(InputError, match="not a finite float32"):
        histogram([np.inf, -np.inf])


def test_integers_are_refused() -> None:
    with pytest.raises(InputError, match="counts floats, found int64"):
        Histogram().add(np.arange(3, dtype=np.int64))


@pytest.mark.parametrize(
    ("counts", "exponent", "maximum"),
    [
        (np.zeros(5, np.int64), MIN_EXPONENT, 0.0),
        (np.zeros(BINS, np.int32), MIN_EXPONENT, 0.0),
        (-np.ones(BINS, np.int64), 0, 0.5),
        (np.zeros(BINS, np.int64), 0, 0.0),
        (np.zeros(BINS, np.int64), MIN_EXPONENT, float("nan")),
        (np.zeros(BINS, np.int64), 0, 0.5),
        (np.ones(BINS, np.int64), 0, 0.5),
    ],
)
def test_contradictions_are_refused(counts: Any, exponent: int, maximum: float) -> None:
    """A stored histogram has its maximum in its last bin with counts."""
    with pytest.raises(ValueError, match="maximum|counts"):
        Histogram(counts, exponent, maximum)
