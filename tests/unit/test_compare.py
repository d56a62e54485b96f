"""Figures and verdicts: what passes, what fails, and that a figure can always be written."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from janus_edge.compare import (
    MAX_DB,
    TOLERANCE_COSINE,
    TOLERANCE_DB,
    Difference,
    code_difference,
    decibels,
    difference,
)
from janus_edge.schema import to_dict

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(4, 256)).astype(np.float32)
values = arrays(np.float32, (3, 5), elements=st.floats(width=32, allow_nan=True))


def noisy(db: float) -> np.ndarray:
    """REFERENCE with exactly this signal-to-noise ratio."""
    noise = RNG.normal(size=REFERENCE.shape)
    scale = np.linalg.norm(REFERENCE) / np.linalg.norm(noise) * 10 ** (-db / 20)
    return REFERENCE.astype(np.float64) + scale * noise


@pytest.mark.parametrize("float_type", TOLERANCE_DB)
def test_equal_passes(float_type: str) -> None:
    """Equal arrays pass with the greatest figure."""
    result = difference(REFERENCE, REFERENCE, float_type, logits=True)
    assert result
    assert (result.snr_db, result.max_abs, result.top1) == (MAX_DB, 0, 1)
    assert result.cosine == pytest.approx(1)


@pytest.mark.parametrize(("float_type", "limit"), TOLERANCE_DB.items())
def test_limit(float_type: str, limit: float) -> None:
    """A hair above the tolerance passes, a hair below fails, and the figure is the true ratio."""
    above = difference(noisy(limit + 0.1), REFERENCE, float_type)
    below = difference(noisy(limit - 0.1), REFERENCE, float_type)
    assert above
    assert not below
    assert above.snr_db == pytest.approx(limit + 0.1, abs=0.01)


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_verdict_does_not_depend_on_the_scale(factor: float) -> None:
    """Logits of 30 and pixels of 1 are judged alike."""
    for db, passes in ((91, True), (89, False)):
        result = difference(noisy(db) * factor, REFERENCE.astype(np.float64) * factor, "float32")
        assert bool(result) == passes


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_fails(value: float) -> None:
    """One NaN or infinity fails, in finite figures."""
    actual = REFERENCE.copy()
    actual[1, 2] = value
    result = difference(actual, REFERENCE, "bfloat16", logits=True)
    assert not result
    json.dumps(to_dict(result), allow_nan=False)


@pytest.mark.parametrize("zero", ["actual", "reference"])
def test_zeros_against_values_fail(zero: str) -> None:
    """All zeros are no match for values, nor values for zeros; zeros match zeros."""
    none = np.zeros_like(REFERENCE)
    pair = (none, REFERENCE) if zero == "actual" else (REFERENCE, none)
    assert not difference(*pair, "bfloat16")
    assert difference(none, none, "float32")


def test_top1_counts_rows() -> None:
    """``top1`` is the share of rows with the largest entry in the same place."""
    swapped = REFERENCE.copy()
    swapped[0] = np.roll(swapped[0], 1)
    assert difference(swapped, REFERENCE, "float32", logits=True).top1 == 0.75
    assert difference(swapped, REFERENCE, "float32").top1 is None


def test_integers_must_be_equal() -> None:
    """Integers pass only when all are equal."""
    codes = np.arange(8)
    assert difference(codes, codes, "float32")
    result = difference(codes + (codes == 3), codes, "bfloat16")
    assert not result
    assert (result.max_abs, result.top1) == (1, 7 / 8)


def test_unsigned_integers_do_not_wrap() -> None:
    """0 against 1 differs by 1 in unsigned types, too."""
    result = difference(np.array([0], np.uint8), np.array([1], np.uint8), "float32")
    assert result.max_abs == 1


def test_shapes_must_agree() -> None:
    """Another shape is a mistake of the caller, even if it would broadcast."""
    with pytest.raises(ValueError, match=r"shapes differ: \(1, 256\) against .* \(4, 256\)"):
        difference(REFERENCE[:1], REFERENCE, "float32")


@given(values, st.integers(0, 99))
def test_figures_are_always_json(actual: np.ndarray, seed: int) -> None:
    """Whatever a graph puts out, the figures are finite."""
    reference = np.random.default_rng(seed).normal(size=(3, 5)).astype(np.float32)
    json.dumps(to_dict(difference(actual, reference, "float32", logits=True)), allow_nan=False)


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [(1, 0, 200), (0, 0, 200), (0, 1, -200), (1, 1, 0), (1e3, 1, 30), (1e300, 1e-300, 200)],
)
def test_decibels(signal: float, noise: float, expected: float) -> None:
    assert decibels(signal, noise) == pytest.approx(expected)


@pytest.mark.parametrize(("float_type", "limit"), TOLERANCE_COSINE.items())
def test_codes_may_differ_where_entries_are_equally_near(float_type: str, limit: float) -> None:
    """Another code passes if it loses less cosine than the tolerance, and fails beyond."""
    cosines = np.array([[[0.9, 0.9 - limit * 0.9, 0.9 - limit * 1.1]]])
    reference = np.array([[0]])
    near, far = np.array([[1]]), np.array([[2]])
    assert code_difference(reference, reference, cosines, float_type).top1 == 1
    result = code_difference(near, reference, cosines, float_type)
    assert result
    assert result.top1 == 0
    assert not code_difference(far, reference, cosines, float_type)


@pytest.mark.parametrize("measure", ["cosine", "", "top1"])
def test_unknown_measure(measure: str) -> None:
    """A verdict rests on one of two figures, and no other."""
    Difference("max_abs", 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="measure must be snr_db or max_abs"):
        Difference(measure, 0.0, 0.0, 0.0)


def test_the_figure_that_decides_is_there() -> None:
    """A verdict on a figure that is missing cannot be made."""
    with pytest.raises(ValueError, match="snr_db decides"):
        Difference("snr_db", 90.0, 0.0, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reference_that_is_not_finite_passes_nothing(value: float) -> None:
    """Neither against itself nor against numbers: the gate must not open on NaN."""
    reference = np.array([1.0, value])
    assert not difference(reference, reference, "float32")
    assert not difference(np.array([1.0, 2.0]), reference, "float32")
