"""The rule that tells rounding from mistakes, on logits that are made up."""

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
    """All codes are the CPU's: nothing differs, whatever a row's constant is."""
    picture = judged(logits, logits + 7)
    assert picture.verdict == EQUAL
    assert picture.equal_codes == picture.equal_forced == T
    assert picture.first_difference is picture.margin is picture.top_two is None
    assert picture.worst_cosine == pytest.approx(1)


def test_rounding(logits: Any) -> None:
    """A code that the engine's own logits prefer: the margin is within what they are off."""
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
    """Steps agree and the painted code does not: no rounding explains it."""
    painted = draw(logits).copy()
    painted[5] = (painted[5] + 1) % K
    assert judged(logits, logits + 1e-4, painted).verdict == LOOP


def test_steps_that_see_little(logits: Any) -> None:
    """The first code is right, later logits are not: attention, also where only a quarter is off."""
    found = logits.copy()
    found[30:] = np.random.default_rng(1).normal(0, 3, found[30:].shape)
    assert judged(logits, found).verdict == ATTENTION
    assert judged(logits, logits, seen=0.05).verdict == ATTENTION


def test_a_prefill_that_is_wrong(logits: Any) -> None:
    """The first code's logits are off: not attention's steps alone."""
    found = np.random.default_rng(1).normal(0, 3, logits.shape).astype(np.float32)
    assert judged(logits, found).verdict == PREFILL


def test_logits_that_are_not_finite(logits: Any) -> None:
    """That comes before everything else."""
    found = logits.copy()
    found[3, 0, 0] = np.nan
    assert judged(logits, found).verdict == NOT_FINITE
