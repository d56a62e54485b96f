"""Parallel decoding draws the sequential loop's codes, whatever is guessed; on the fake model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.guesses import GUESSES, FixedSource, Frontier, Guess, Source, resampled
from janus_edge.runtime.parallel_decoding import MAX_WINDOW, ParallelDecoder
from tests.unit.runtime.fakes import CONFIG, FakeBackend
from tests.unit.runtime.test_image_decoding import LENGTHS, STEPS, drawn, request

SIZE = CONFIG.vq.codebook_size


def decoded(decoder: ParallelDecoder) -> np.ndarray:
    """All codes [P, T]; what is called known never changes and every pass gains something."""
    while not decoder.finished:
        before, known = decoder.drawn.copy(), decoder.known.copy()
        gained = decoder.advance()
        assert np.array_equal(decoder.known, known + gained)
        assert (gained[known < STEPS] >= 1).all()
        assert (gained[known == STEPS] == 0).all()
        for row, first, end in zip(decoder.drawn, before, known, strict=True):
            assert np.array_equal(row[:end], first[:end])
    return decoder.drawn


def oracle(codes: np.ndarray, miss: float, seed: int) -> Guess:
    """Guesses a single picture's true code, but for a share ``miss``."""
    generator = np.random.default_rng(seed)

    def guess(at: Frontier) -> int:
        true = int(codes[len(at.codes)])
        return (true + 1) % SIZE if generator.random() < miss else true

    return guess


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, len(LENGTHS) - 1), min_size=1, max_size=5),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    st.sampled_from([1.0, 5.0]),
    st.sampled_from(sorted(GUESSES)),
    st.sampled_from([Source, lambda: FixedSource(True), lambda: FixedSource(False)]),
    st.data(),
)
def test_codes_are_those_of_the_loop(
    prompt_of: list[int], width: int, temperature: float, scale: float, guess: str,
    source: Callable[[], Source], data: st.DataObject,
) -> None:  # fmt: skip
    """Any batch, width, guess and source: the law of the module, on integers, where it is exact."""
    count = len(prompt_of)
    seeds = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    indices = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    made = request(LENGTHS, prompt_of, seeds, indices, scale, temperature)
    decoder = ParallelDecoder(
        CONFIG, FakeBackend(), made, width, guess=GUESSES[guess], source=source
    )
    assert np.array_equal(decoded(decoder), drawn(made))
    assert decoder.passes <= STEPS - 1


@settings(deadline=None, max_examples=25)
@given(st.integers(1, STEPS + 3), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.integers(0, 99))
def test_passes(width: int, miss: float, seed: int) -> None:
    """Right guesses make the fewest passes, wrong ones no more than the loop's; the codes stay."""
    made = request([7], [0], [seed], [0])
    codes = drawn(made)
    decoder = ParallelDecoder(CONFIG, FakeBackend(), made, width, guess=oracle(codes[0], miss, 1))
    assert np.array_equal(decoded(decoder), codes)
    fewest = -(-(STEPS - 1) // width)
    assert fewest <= decoder.passes <= STEPS - 1
    if miss == 0:
        assert decoder.passes == fewest


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=STEPS), st.integers(1, 4))
def test_width_may_change(widths: list[int], count: int) -> None:
    """Between any two passes, up to the widest."""
    made = request([7, 3], [i % 2 for i in range(count)], list(range(count)), [0] * count)
    decoder = ParallelDecoder(CONFIG, FakeBackend(), made, widths[0], widest=8)
    turn = 0
    while not decoder.finished:
        decoder.width = widths[turn % len(widths)]
        decoder.advance()
        turn += 1
    assert np.array_equal(decoder.drawn, drawn(made))


def test_a_finished_picture_leaves_the_batch() -> None:
    """Once half of the pictures are finished, a pass has the rows of the others only."""
    made = request([7], [0, 0, 0, 0], [1, 2, 3, 4], [0] * 4)
    codes, backend = drawn(made), FakeBackend()

    def guess(at: Frontier) -> int:
        for row in codes[:2]:  # the first two are guessed right, the others hardly ever
            if np.array_equal(row[: len(at.codes)], at.codes):
                return int(row[len(at.codes)])
        return 0

    decoder, rows = ParallelDecoder(CONFIG, backend, made, 6, guess=guess), []
    while not decoder.finished:
        decoder.advance()
        rows.append(len(backend.sessions[Graph.LANGUAGE_MODEL].last[0]["past_lengths"]))
    assert np.array_equal(decoder.drawn, codes)
    assert rows[0] == 8
    assert rows[-1] <= 4


def test_near_the_last_position() -> None:
    """Where the model's positions end, the window is as wide as they allow."""
    room = CONFIG.language.max_positions - (STEPS - 1)
    for length in (room, room - 2):
        made = request([length], [0], [1], [0])
        decoder = ParallelDecoder(CONFIG, FakeBackend(), made, 8)
        assert decoder.widest == room - length + 1
        assert np.array_equal(decoded(decoder), drawn(made))


@pytest.mark.parametrize("width", [0, -1, MAX_WINDOW + 1])
def test_width_out_of_range(width: int) -> None:
    with pytest.raises(InputError, match=f"1 to {MAX_WINDOW} codes wide, found {width}"):
        ParallelDecoder(CONFIG, FakeBackend(), request([7], [0], [1], [0]), width)


def test_guesses() -> None:
    """Left, above (left in the first row), what the row above suggests, and the last distribution
    with the new noise."""
    noise, scores = np.array([0, 0, 3.0], np.float32), np.array([2, 1.0, 0], np.float32)
    at = Frontier(np.array([5, 6, 7, 8, 9]), noise, scores, columns=4)
    assert (GUESSES["left"](at), GUESSES["above"](at), resampled(at)) == (9, 6, 2)
    assert GUESSES["above"](Frontier(at.codes[:3], noise, scores, 4)) == 7
    continued = GUESSES["continued"]
    assert continued(at) == 6  # 5 above the last, 6 above this: an edge goes down
    assert continued(Frontier(np.array([5, 5, 7, 8, 9]), noise, scores, 4)) == 9
    assert continued(Frontier(at.codes[:4], noise, scores, 4)) == 8


@pytest.mark.parametrize("anew", [True, False])
def test_what_is_guessed_behind_a_refuted_guess(anew: bool) -> None:
    """Anew: all positions of the window that are not known; else only those no pass looked at."""
    made, asked = request([7], [0], [1], [0]), []

    def guess(at: Frontier) -> int:
        asked.append(len(at.codes))
        return 0

    decoder = ParallelDecoder(
        CONFIG, FakeBackend(), made, 6, guess=guess, source=lambda: FixedSource(anew)
    )
    assert asked == [1, 2, 3, 4, 5]
    asked.clear()
    (gained,) = decoder.advance()
    known = 1 + gained
    assert gained < 5
    assert asked == [*range(known if anew else 7, known + 5)]


def test_source() -> None:
    """Good guesses stay; bad ones give choices a chance, and those stay if they are better; else both
    are tried in turn, what was better more often."""
    good = Source()
    for gained in [6, 8, 5, 9, 7] * 20:
        good.note(gained)
        assert good.anew
    worse = Source()
    shares = []
    for gains in ({True: 1, False: 3}, {True: 1, False: 1}):
        used = []
        for _ in range(400):
            used.append(worse.anew)
            worse.note(gains[worse.anew])
        shares.append(np.mean(used[100:]))
    assert shares[0] < 0.15
    assert 0.3 < shares[1] < 0.7
