"""Counter-based Gumbel noise: the same numbers for ever, and Gumbel's distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from janus_edge.errors import InputError
from janus_edge.noise import gumbel, gumbel_at, gumbel_rows

#: gumbel(seed, picture, position, 4, stream): changed numbers would change everybody's pictures.
GOLDEN = {
    (0, 0, 0, 0): [-1.21188390, -1.49545156, 0.711098790, -0.35113713],
    (7, 0, 0, 0): [-0.59308242, 1.988638758, 3.570970058, -0.19847546],
    (7, 3, 575, 0): [2.168031930, -0.76436549, 2.077201843, 2.082665205],
    (2**64 - 1, 1, 10, 0): [0.463541984, 0.047980528, -1.74309384, 2.283342361],
    (7, 0, 0, 1): [0.250120371, 1.696743011, 0.391783446, -0.03864607],
}


@pytest.mark.parametrize("key", GOLDEN, ids=str)
def test_golden_values(key: tuple[int, int, int, int]) -> None:
    """The first numbers of a row are these, on every machine and version."""
    seed, picture, position, stream = key
    row = gumbel(seed, picture, position, 4, stream)
    np.testing.assert_allclose(row, GOLDEN[key], rtol=1e-6)


def philox_4x64(counter: list[int], key: list[int]) -> list[int]:
    """One block of Philox 4x64 with ten rounds, written from the paper's figure."""
    word = 2**64 - 1
    for step in range(10):
        k0 = (key[0] + step * 0x9E3779B97F4A7C15) & word
        k1 = (key[1] + step * 0xBB67AE8584CAA73B) & word
        p0 = counter[0] * 0xD2E7470EE14C6C93
        p1 = counter[2] * 0xCA5A826395121157
        counter = [(p1 >> 64) ^ counter[1] ^ k0, p1 & word, (p0 >> 64) ^ counter[3] ^ k1, p0 & word]
    return counter


def test_the_generator_is_philox_as_published() -> None:
    """Block b of a row is Philox at the counter [b + 1, 0, position, stream], low halves first."""
    words = [
        word
        for block in (1, 2)
        for word in philox_4x64([block, 0, 321, 1], [0x123456789ABCDEF0, 42])
    ]
    halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
    uniform = (np.array(halves, np.float64) + 0.5) / 2**32
    expected = (-np.log(-np.log(uniform))).astype(np.float32)
    np.testing.assert_allclose(gumbel(0x123456789ABCDEF0, 42, 321, 16, 1), expected, rtol=1e-6)


def test_rows_depend_on_nothing_but_their_key() -> None:
    """A row is the same alone, again, in any batch, in any order, and as the start of a longer."""
    alone = gumbel(7, 3, 100, 1000)
    assert alone.dtype == np.float32
    np.testing.assert_array_equal(alone, gumbel(7, 3, 100, 1000))
    np.testing.assert_array_equal(alone, gumbel(7, 3, 100, 1777)[:1000])
    rows = gumbel_rows([7, 7, 8, 7], [5, 3, 3, 0], 100, 1000)
    np.testing.assert_array_equal(rows[1], alone)
    np.testing.assert_array_equal(gumbel_rows([7, 7], [3, 5], 100, 1000), rows[[1, 0]])


def test_every_part_of_the_key_matters() -> None:
    """Another seed, picture, position or stream gives other numbers, up to the largest values."""
    keys = [
        (7, 3, 100, 0),
        (8, 3, 100, 0),
        (7, 4, 100, 0),
        (7, 3, 101, 0),
        (7, 3, 100, 1),
        (2**64 - 1, 3, 100, 0),
        (7, 2**64 - 1, 100, 0),
        (7, 3, 2**64 - 1, 0),
    ]
    rows = {gumbel(*key[:3], 64, key[3]).tobytes() for key in keys}
    assert len(rows) == len(keys)


def test_neighbouring_positions_share_no_block() -> None:
    """A whole row's 64-bit words do not reappear at the next position, picture, seed or stream."""
    pairs = [
        gumbel(*key[:3], 16384, key[3]).view(np.uint64)
        for key in [(7, 3, 100, 0), (7, 3, 101, 0), (7, 4, 100, 0), (8, 3, 100, 0), (7, 3, 100, 1)]
    ]
    joined = np.concatenate(pairs)
    # two chance repeats of a pair of 32-bit draws among 40960 would be a surprise of 1 in 10**10
    assert len(np.unique(joined)) == len(joined)


def test_the_distribution_is_gumbels() -> None:
    """Kolmogorov-Smirnov against the standard Gumbel, over a row and across positions and seeds."""
    across = np.array(
        [gumbel(s, p, t, 1)[0] for s in range(20) for p in range(10) for t in range(20)]
    )
    for sample in (gumbel(1, 0, 0, 200_000), across):
        assert stats.kstest(sample, "gumbel_r").pvalue > 1e-3


def test_gumbel_max_draws_from_softmax() -> None:
    """Chi-square: argmax(logits + noise) has the probabilities softmax(logits)."""
    logits = np.array([0.0, 1.0, 2.0, -1.0, 0.5, 2.0], np.float32)
    draws = [int(np.argmax(logits + gumbel(11, 2, t, 6))) for t in range(6_000)]
    weights = np.exp(logits.astype(np.float64))
    expected = weights / weights.sum() * len(draws)
    assert stats.chisquare(np.bincount(draws, minlength=6), expected).pvalue > 1e-3


def test_noise_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extreme 32-bit draws stay finite: from -3.13 to 22.87."""
    from janus_edge import noise

    extremes = np.array([0, 2**32 - 1], np.uint32)
    monkeypatch.setattr(noise, "random_bits", lambda *_: extremes)
    low, high = gumbel(0, 0, 0, 2)
    assert low == pytest.approx(-np.log(33 * np.log(2)), abs=1e-4)  # u = 2**-33
    assert high == pytest.approx(33 * np.log(2), abs=1e-4)  # u = 1 - 2**-33


def test_sizes() -> None:
    """Odd sizes, one and zero are as long as asked."""
    assert [len(gumbel(0, 0, 0, size)) for size in (0, 1, 2, 7)] == [0, 1, 2, 7]


def test_gumbel_at_is_gumbel_indexed() -> None:
    """Noise at some indices equals the whole row's at those, in their order."""
    indices = np.array([5, 999, 0, 5])
    np.testing.assert_array_equal(gumbel_at(7, 1, 2, indices, 1), gumbel(7, 1, 2, 1000, 1)[indices])
    assert gumbel_at(7, 1, 2, np.array([], np.int64)).shape == (0,)


def test_gumbel_rows_fill_the_given_array() -> None:
    """``out`` is written and returned; one of another shape or dtype is an InputError."""
    out = np.full((2, 5), np.nan, np.float32)
    assert gumbel_rows([1, 1], [0, 1], 9, 5, out=out) is out
    np.testing.assert_array_equal(out, gumbel_rows([1, 1], [0, 1], 9, 5))
    for wrong in (np.empty((2, 4), np.float32), np.empty((2, 5), np.float64)):
        with pytest.raises(InputError, match="out float32"):
            gumbel_rows([1, 1], [0, 1], 9, 5, out=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 seeds for 2 pictures"):
        gumbel_rows([1], [0, 1], 9, 5)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "7", None, True])
def test_seeds_out_of_range(seed: object) -> None:
    """A seed that is not an integer in [0, 2**64) is an InputError."""
    with pytest.raises(InputError, match="seed"):
        gumbel(seed, 0, 0, 4)  # type: ignore[arg-type]


def test_numpy_integers_are_integers() -> None:
    """numpy's integers key the noise like Python's."""
    np.testing.assert_array_equal(
        gumbel(np.uint64(7), np.int64(3), np.int32(1), 4), gumbel(7, 3, 1, 4)
    )
