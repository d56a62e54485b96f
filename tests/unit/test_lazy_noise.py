"""Noise that is drawn where it can decide: the draw is that of the whole noise, whatever the scores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_edge import lazy_noise
from janus_edge.lazy_noise import DecidingNoise, GuidedScores
from janus_edge.noise import gumbel_of_bits, gumbel_rows


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 4),
    st.sampled_from([1, 2, 7, 512, 3001]),
    st.sampled_from([0.0, 0.01, 1.0, 6.0, 1000.0]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 600),
)
def test_the_same_draw(pictures: int, size: int, spread: float, seed: int, position: int) -> None:
    """From equal scores to one that towers over all: the argmax is that of the whole noise."""
    rng = np.random.default_rng(seed)
    scores = (spread * rng.normal(size=(pictures, size))).astype(np.float32)
    seeds, indices = [seed] * pictures, range(pictures)
    lazy = DecidingNoise(seeds, indices, size)
    for place in (position, position + 1):  # buffers are used again
        count = lazy.draw(place, scores, 1e-5)
        whole = gumbel_rows(seeds, indices, place, size)
        np.testing.assert_array_equal((scores + lazy.noise).argmax(-1), (scores + whole).argmax(-1))
        own = lazy.noise == whole
        assert own.sum() >= count >= pictures
        assert (lazy.noise <= whole).all()
        lazy.draw_all(place)
        np.testing.assert_array_equal(lazy.noise, whole)


def test_draws_of_several_threads() -> None:
    """Two threads draw at once, and each gets what it would have got alone."""
    keys = ([5, 5], [0, 1])
    expected = [gumbel_rows(*keys, position, 4000) for position in range(60)]

    def drawn(_: int) -> bool:
        return all(
            np.array_equal(gumbel_rows(*keys, position, 4000), row)
            for position, row in enumerate(expected)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(drawn, range(4)))


@pytest.mark.parametrize("size", [40, 5000])
def test_positions_in_any_order(size: int) -> None:
    """Forwards, over the end of what was drawn ahead, backwards and at the last position there is."""
    lazy, scores = DecidingNoise([6], [2], size), np.zeros((1, size), np.float32)
    for position in (0, 1, 15, 16, 17, 3, 400, 2**64 - 1, 399):
        expected = gumbel_rows([6], [2], position, size)
        lazy.draw_all(position)
        np.testing.assert_array_equal(lazy.noise, expected)
        lazy.draw(position, scores, 1e-6)
        assert lazy.noise.argmax() == expected.argmax()


def test_every_candidate_has_its_own_noise() -> None:
    """Whoever could win if scores were off by the error has exact noise: with a large error, all."""
    scores = np.random.default_rng(0).normal(size=(2, 512)).astype(np.float32)
    lazy, whole = DecidingNoise([3, 4], [0, 9], 512), gumbel_rows([3, 4], [0, 9], 5, 512)
    for error in (0.0, 0.5, 3.0):
        lazy.draw(5, scores, error)
        total = scores + whole
        near = total >= total.max(1, keepdims=True) - 2 * error
        np.testing.assert_array_equal(lazy.noise[near], whole[near])
    assert lazy.draw(5, scores, 100.0) == scores.size
    np.testing.assert_array_equal(lazy.noise, whole)


def test_few_are_computed() -> None:
    """Of 16384 equal scores fewer than one in a hundred: else nothing would be saved."""
    lazy = DecidingNoise([1] * 4, range(4), 16384)
    counts = [lazy.draw(position, np.zeros((4, 16384), np.float32), 1e-4) for position in range(9)]
    assert max(counts) < 4 * 164


def test_the_bounds_hold() -> None:
    """At both ends of every interval of bits, which are its extremes."""
    first = np.arange(1 << 12, dtype=np.uint32) << np.uint32(20)
    for bits in (first, first | np.uint32((1 << 20) - 1)):
        noise = gumbel_of_bits(bits).astype(np.float32)
        assert (noise > lazy_noise._LOW).all()
        assert (noise < lazy_noise._HIGH).all()
    assert (np.diff(lazy_noise._LOW) > 0).all()
    assert (np.diff(lazy_noise._HIGH) > 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("scale", "temperature"), [(5.0, 1.0), (-3.0, 0.01), (0.0, 100.0)])
def test_guided_scores(dtype: type, scale: float, temperature: float) -> None:
    """(uncond + g (cond - uncond)) / T to within the error that is told, which is small."""
    logits = (20 * np.random.default_rng(1).normal(size=(6, 300))).astype(dtype)
    guided = GuidedScores(3, 300, scale, temperature)
    largest = float(np.abs(logits).max())
    error = guided.of(logits, largest)
    cond, uncond = logits[:3].astype(np.float64), logits[3:].astype(np.float64)
    exact = (uncond + scale * (cond - uncond)) / temperature
    assert np.abs(guided.scores - exact).max() <= error / 2
    assert error < 1e-4 * (largest * (1 + 2 * abs(scale)) / temperature + 32)
