"""Statistics of an input: what was added counts, not how; the sample is fair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_edge.calib.statistics import InputStatistics
from janus_edge.errors import InputError

Floats = NDArray[np.float32]
ROWS = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)


def statistics(*parts: Any, **options: Any) -> InputStatistics:
    made = InputStatistics(7, **{"row_limit": 20, "gram": True, **options})
    for part in parts:
        made.add(part)
    return made


def assert_equal(a: InputStatistics, b: InputStatistics) -> None:
    """Equal, but for the order of summation."""
    assert (a.count, a.histogram.maximum) == (b.count, b.histogram.maximum)
    np.testing.assert_array_equal(a.histogram.counts, b.histogram.counts)
    np.testing.assert_array_equal(a.channel_maximum, b.channel_maximum)
    np.testing.assert_array_equal(a.sample_rows, b.sample_rows)
    np.testing.assert_allclose(a.channel_sum, b.channel_sum)
    np.testing.assert_allclose(a.channel_squares, b.channel_squares)
    if a.gram is not None and b.gram is not None:
        np.testing.assert_allclose(a.gram, b.gram, rtol=1e-4, atol=1e-4)


def test_the_figures() -> None:
    """Against numpy on all rows at once."""
    made = statistics(ROWS)
    assert made.count == 300
    np.testing.assert_array_equal(made.channel_maximum, np.abs(ROWS).max(0))
    np.testing.assert_allclose(made.channel_mean, np.abs(ROWS).mean(0), rtol=1e-5)
    np.testing.assert_allclose(made.channel_mean_square, (ROWS**2).mean(0), rtol=1e-5)
    assert made.gram is not None
    np.testing.assert_allclose(made.gram, ROWS.T @ ROWS, rtol=1e-5, atol=1e-5)
    assert made.histogram.count == ROWS.size


@pytest.mark.parametrize("cuts", [[1], [19, 20, 21], [100, 250], list(range(1, 300))])
def test_pieces(cuts: list[int]) -> None:
    """Streaming gives what adding at once gives, the sample included."""
    assert_equal(statistics(*np.split(ROWS, cuts)), statistics(ROWS))


def test_shapes() -> None:
    """Leading axes are rows; of a picture [N, C, H, W] each pixel is one."""
    assert_equal(statistics(ROWS.reshape(3, 10, 10, 7)), statistics(ROWS))
    picture = ROWS.reshape(3, 10, 10, 7).transpose(0, 3, 1, 2)
    assert_equal(statistics(picture, axis=1), statistics(ROWS))
    assert_equal(statistics(np.empty((0, 7), np.float32)), statistics())


def test_merging() -> None:
    """In any order, a merge has what the parts have; the parts stay as they are."""
    parts = [(ROWS[:30], 1), (ROWS[30:35], 2), (ROWS[35:], 3)]
    made = [statistics(rows, seed=seed) for rows, seed in parts]
    forth, back = InputStatistics(7, row_limit=20, gram=True, seed=8), statistics(seed=9)
    for part in made:
        forth.merge(part)
    for part in reversed(made):
        back.merge(part)
    assert_equal(forth, back)
    whole = statistics(ROWS)
    whole.sample_rows = forth.sample_rows  # other keys, another sample
    assert_equal(forth, whole)
    for part, (rows, seed) in zip(made, parts, strict=True):
        assert_equal(part, statistics(rows, seed=seed))
    nested = statistics(seed=7)
    made[1].merge(made[2])
    made[0].merge(made[1])
    nested.merge(made[0])
    assert_equal(nested, forth)


def test_going_on_after_a_merge() -> None:
    """The keys that follow do not depend on whose rows came before."""
    a, b = statistics(ROWS[:50], seed=1), statistics(ROWS[50:80], seed=2)
    a.merge(b)
    a.add(ROWS[80:])
    assert a.count == 300
    keys = np.random.default_rng(1).random(300)
    assert set(a.row_keys) - set(np.random.default_rng(2).random(30)) <= set(keys)


@pytest.mark.parametrize(
    "options", [{"row_limit": 19}, {"gram": False}, {"axis": 1}, {"channels": 6}]
)
def test_what_cannot_be_merged(options: dict[str, Any]) -> None:
    other = InputStatistics(**{"channels": 7, "row_limit": 20, "gram": True, "seed": 1, **options})
    with pytest.raises(InputError, match="same channels and options"):
        statistics(ROWS).merge(other)


def test_equal_seeds_cannot_be_merged() -> None:
    """Directly or through a third one."""
    a, b, c = statistics(seed=1), statistics(seed=2), statistics(seed=1)
    with pytest.raises(InputError, match="a seed of its own"):
        a.merge(c)
    b.merge(a)
    with pytest.raises(InputError, match=r"seeds \(2, 1\) and \(1,\)"):
        b.merge(c)


def test_the_sample_is_rows_of_the_input() -> None:
    """Without replacement, all of them while there are few, and no more than the limit."""
    made = statistics(ROWS)
    assert made.sample_rows.shape == (20, 7)
    places = [int(np.flatnonzero((row == ROWS).all(1))[0]) for row in made.sample_rows]
    assert len(set(places)) == 20
    few = statistics(ROWS[:5])
    assert {tuple(row) for row in few.sample_rows.tolist()} == {tuple(r) for r in ROWS[:5].tolist()}


def test_the_sample_is_fair() -> None:
    """Over many seeds early and late rows, added or merged, are kept equally often."""
    rows = np.arange(40, dtype=np.float32)[:, None]
    kept = np.zeros(40)
    for seed in range(400):
        made = InputStatistics(1, row_limit=10, seed=2 * seed)
        made.add(rows[:5])
        made.add(rows[5:25])
        other = InputStatistics(1, row_limit=10, seed=2 * seed + 1)
        other.add(rows[25:])
        made.merge(other)
        kept[made.sample_rows.astype(int).ravel()] += 1
    # binomial(400, 1/4): mean 100, standard deviation 8.7
    assert np.abs(kept - 100).max() < 4.5 * 8.7


def test_memory_is_bounded() -> None:
    """However much is added, the arrays stay as large as they are."""
    made = statistics(ROWS, ROWS)
    before = [made.sample_rows.nbytes, made.row_keys.nbytes, made.histogram.counts.nbytes]
    for _ in range(20):
        made.add(np.tile(ROWS, (5, 1)))
    after = [made.sample_rows.nbytes, made.row_keys.nbytes, made.histogram.counts.nbytes]
    assert before == after


def test_the_callers_buffer() -> None:
    """The next step may be written over what was added."""
    made, buffer = statistics(), np.empty((3, 7), np.float32)
    for rows in ROWS.reshape(100, 3, 7):
        buffer[...] = rows
        made.add(buffer)
    assert_equal(made, statistics(ROWS))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (ROWS[:, :6], "does not have 7 channels on axis -1"),
        (ROWS[0], "does not have 7 channels"),
        (np.full((3, 7), np.nan, np.float32), "not a finite float32"),
        (np.ones((3, 7), np.int32), "counts floats"),
    ],
)
def test_what_cannot_be_added(values: Floats, message: str) -> None:
    """It is refused, and nothing of it is recorded."""
    made = statistics(ROWS)
    with pytest.raises(InputError, match=message):
        made.add(values)
    assert_equal(made, statistics(ROWS))


@pytest.mark.parametrize("options", [{"axis": 0}, {"row_limit": 0}, {"seed": -1}, {"channels": 0}])
def test_unusable_options(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="statistics need"):
        InputStatistics(**{"channels": 7, **options})
