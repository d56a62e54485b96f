"""The rule that separates rounding from mistakes, on made-up logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.gpu_check.steps import GUIDANCE_SCALE, TEMPERATURE
from benchmarks.gpu_check.verdict import (
    ATTENTION,
    EQUAL,
    LOOP,
    NOT_FINITE,
    PREFILL,
    ROUNDING,
    judge,
)
from janus_edge.noise import gumbel
from janus_edge.runtime.teacher_forcing import guided

T, K = 40, 64


def draw(logits: Any) -> Any:
    noise = np.stack([gumbel(0, 0, t, K) for t in range(len(logits))])
    return (guided(logits[:, 0], logits[:, 1], GUIDANCE_SCALE) / TEMPERATURE + noise).argmax(-1)


@pytest.fixture
def logits() -> Any:
    return np.random.default_rng(0).normal(0, 3, (T, 2, K)).astype(np.float32)


def judged(logits: Any, found: Any, painted: Any = None, seen: float = 1.0) -> Any:
    codes, drawn = draw(logits), draw(found)
    return judge(0, (codes, logits), (drawn, found), codes if painted is None else painted, seen)


def test_equal(logits: Any) -> None:
    """If all codes are the CPU's, nothing differs, whatever constant a row has."""
    picture = judged(logits, logits + 7)
    assert picture.verdict == EQUAL
    assert picture.equal_codes == picture.equal_forced == T
    assert picture.first_difference is picture.margin is picture.top_two is None
    assert picture.worst_cosine == pytest.approx(1)


def test_rounding(logits: Any) -> None:
    """A code that the engine's own logits prefer is rounding: the margin is within their error."""
    at, codes = 7, draw(logits)
    found = logits.copy()
    scores = guided(*logits[at], GUIDANCE_SCALE) / TEMPERATURE + gumbel(0, 0, at, K)
    second = int(np.argsort(scores)[-2])
    found[at, :, second] += scores.max() - scores[second] + 0.01
    painted = codes.copy()
    painted[at] = second
    picture = judged(logits, found, painted)
    assert picture.verdict == ROUNDING
    assert picture.first_difference == at
    assert (
        picture.margin == picture.top_two == pytest.approx(scores.max() - scores[second], abs=1e-5)
    )
    assert picture.margin < picture.deviation
    assert picture.equal_codes == T - 1


def test_a_loop_that_draws_otherwise(logits: Any) -> None:
    """If steps agree and the painted code does not, rounding cannot explain it."""
    painted = draw(logits).copy()
    painted[5] = (painted[5] + 1) % K
    assert judged(logits, logits + 1e-4, painted).verdict == LOOP


def test_steps_that_see_little(logits: Any) -> None:
    """If the first code is right and later logits are not, attention is wrong, even in one quarter only."""
    found = logits.copy()
    found[30:] = np.random.default_rng(1).normal(0, 3, found[30:].shape)
    assert judged(logits, found).verdict == ATTENTION
    assert judged(logits, logits, seen=0.05).verdict == ATTENTION


def test_a_prefill_that_is_wrong(logits: Any) -> None:
    """If the first code's logits are off, the prefill is wrong, not only attention in steps."""
    found = np.random.default_rng(1).normal(0, 3, logits.shape).astype(np.float32)
    assert judged(logits, found).verdict == PREFILL


def test_logits_that_are_not_finite(logits: Any) -> None:
    """Logits that are not finite come before every other verdict."""
    found = logits.copy()
    found[3, 0, 0] = np.nan
    assert judged(logits, found).verdict == NOT_FINITE
