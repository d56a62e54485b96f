"""Text sampling: greedy, nucleus and the draw's distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from janus_edge.errors import BackendError, InputError
from janus_edge.noise import gumbel
from janus_edge.runtime.text_sampler import _nucleus, make_text_sampler

LOGITS = np.array([1.0, 3.0, -2.0, 2.5, 0.0, 2.0, -8.0], np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def plain_nucleus(logits: np.ndarray, top_p: float) -> list[int]:
    """The definition: take tokens by falling probability until top_p is reached."""
    probabilities = softmax(logits)
    kept: list[int] = []
    total = 0.0
    for token in sorted(range(len(logits)), key=lambda token: (-probabilities[token], token)):
        kept.append(token)
        total += probabilities[token]
        if total >= top_p:
            break
    return sorted(kept)


def test_temperature_zero_is_argmax() -> None:
    """Greedy takes the most probable token, the lowest id of equals, whatever the position."""
    sampler = make_text_sampler(0, 0.3, 7)
    assert [sampler(LOGITS, position, 0) for position in range(5)] == [1] * 5
    assert sampler(np.array([0, 2, 2, 1], np.float32), 0, 0) == 1


def test_draws_depend_on_seed_position_and_row_only() -> None:
    """The same key gives the same token; a changed seed, position or row gives another sequence."""
    flat = np.zeros(1000, np.float32)
    one = make_text_sampler(1.0, 1.0, 7)
    tokens = [one(flat, position, 0) for position in range(20)]
    again = make_text_sampler(1.0, 1.0, 7)
    assert [again(flat, position, 0) for position in reversed(range(20))] == tokens[::-1]
    assert [one(flat, position, 1) for position in range(20)] != tokens
    other = make_text_sampler(1.0, 1.0, 8)
    assert [other(flat, position, 0) for position in range(20)] != tokens


def test_whole_distribution_is_gumbel_max() -> None:
    """With top_p 1 the token is argmax(logits / T + gumbel(seed, row, position, stream 1))."""
    sampler = make_text_sampler(0.7, 1.0, 5)
    for position in range(50):
        expected = np.argmax(LOGITS / 0.7 + gumbel(5, 2, position, len(LOGITS), 1))
        assert sampler(LOGITS, position, 2) == expected


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (2.0, 0.5), (1.0, 0.95)]
)
def test_draws_follow_the_truncated_softmax(temperature: float, top_p: float) -> None:
    """Chi-square: within the nucleus in proportion, outside it never."""
    sampler = make_text_sampler(temperature, top_p, 3)
    draws = [sampler(LOGITS, position, 0) for position in range(4000)]
    kept = plain_nucleus(LOGITS / temperature, top_p)
    assert set(draws) <= set(kept)
    expected = softmax(LOGITS / temperature)[kept]
    expected *= len(draws) / expected.sum()
    observed = np.bincount(draws, minlength=len(LOGITS))[kept]
    frequent = expected > 5  # the test's own condition; the rest is pooled
    observed = np.append(observed[frequent], observed[~frequent].sum())
    expected = np.append(expected[frequent], expected[~frequent].sum())
    if expected[-1] == 0:
        observed, expected = observed[:-1], expected[:-1]
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@given(
    st.lists(st.sampled_from([-30.0, -3.0, -1.0, 0.0, 0.5, 1.0, 4.0]), min_size=1, max_size=60),
    st.sampled_from([1e-9, 0.1, 0.33, 0.5, 0.777, 0.9, 0.95, 0.999]),
)
@settings(deadline=None)
def test_nucleus_is_the_definition(values: list[float], top_p: float) -> None:
    """The shortcut for improbable tokens leaves the definition's set, ties by lower ids."""
    logits = np.array(values)
    kept = _nucleus(logits - logits.max(), top_p)
    expected = plain_nucleus(logits, top_p)
    # Sums in another order may differ in the last bit where a sum lands on top_p itself
    assert kept.tolist() == expected or abs(len(kept) - len(expected)) == 1
    if kept.tolist() != expected:
        shorter = min(kept.tolist(), expected, key=len)
        assert softmax(logits)[shorter].sum() == pytest.approx(top_p, abs=1e-12)


def test_at_least_one_token_is_kept() -> None:
    """The smallest top_p leaves the most probable token, and of equals the lowest id."""
    assert make_text_sampler(1.0, 1e-300, 0)(LOGITS, 0, 0) == 1
    assert make_text_sampler(1.0, 1e-9, 0)(np.zeros(100, np.float32), 3, 0) == 0


def test_extreme_temperatures_are_no_accident() -> None:
    """The smallest float temperature is greedy, a huge one nearly uniform; neither overflows."""
    cold = make_text_sampler(5e-324, 1.0, 0)
    assert {cold(LOGITS, position, 0) for position in range(50)} == {1}
    hot = make_text_sampler(1e30, 1.0, 0)
    assert {hot(LOGITS, position, 0) for position in range(300)} == set(range(len(LOGITS)))


def test_masked_tokens_are_never_drawn() -> None:
    """A logit of -inf has no probability, with or without the nucleus."""
    logits = np.array([0, -np.inf, 0, -np.inf], np.float32)
    for top_p in (1.0, 0.999):
        sampler = make_text_sampler(1.0, top_p, 1)
        assert {sampler(logits, position, 0) for position in range(50)} == {0, 2}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_overflowed_logits_are_a_backend_error(bad: float, temperature: float) -> None:
    """NaN or infinite logits stop the answer instead of choosing a token by accident."""
    logits = np.array([0, bad, 1], np.float32)
    with pytest.raises(BackendError, match="not finite"):
        make_text_sampler(temperature, 0.9, 0)(logits, 0, 0)


@pytest.mark.parametrize(
    ("temperature", "top_p", "seed", "name"),
    [
        (-0.1, 1.0, 0, "temperature"),
        (float("nan"), 1.0, 0, "temperature"),
        (float("inf"), 1.0, 0, "temperature"),
        (1.0, 0.0, 0, "top_p"),
        (1.0, 1.01, 0, "top_p"),
        (1.0, float("nan"), 0, "top_p"),
        (1.0, 1.0, -1, "seed"),
        (1.0, 1.0, 2**64, "seed"),
    ],
)
def test_options_out_of_range(temperature: float, top_p: float, seed: int, name: str) -> None:
    """Options are refused when the sampler is made, with the name of the option."""
    with pytest.raises(InputError, match=name):
        make_text_sampler(temperature, top_p, seed)
