"""The divergence of logits: against the formula written out, at its ends, and added up in pieces."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from janus_edge import divergence
from janus_edge.divergence import MAX_NATS, DivergenceMeter, kl_divergence, top1_agreement
from janus_edge.schema import to_dict

RNG = np.random.default_rng(0)
logits = arrays(np.float32, (4, 6), elements=st.floats(-30, 30, width=32))


def plain_divergence(reference: list[float], other: list[float]) -> float:
    """The sum over entries of P (log P - log Q), one by one."""
    p_sum, q_sum = (math.fsum(map(math.exp, row)) for row in (reference, other))
    return math.fsum(
        math.exp(p) / p_sum * ((p - math.log(p_sum)) - (q - math.log(q_sum)))
        for p, q in zip(reference, other, strict=True)
    )


@given(logits, logits)
def test_the_formula(reference: np.ndarray, other: np.ndarray) -> None:
    """Each row's divergence is the formula's, and never negative."""
    found = kl_divergence(reference, other)
    plain = [
        plain_divergence(*rows) for rows in zip(reference.tolist(), other.tolist(), strict=True)
    ]
    np.testing.assert_allclose(found, plain, rtol=1e-9, atol=1e-12)
    assert found.dtype == np.float64
    assert (found >= 0).all()


@given(logits)
def test_of_itself(rows: np.ndarray) -> None:
    """Logits do not diverge from themselves, to the last bit; a constant added changes nothing."""
    assert kl_divergence(rows, rows).tolist() == [0] * 4
    np.testing.assert_allclose(kl_divergence(rows, rows + np.float32(4)), 0, atol=1e-10)
    assert top1_agreement(rows, rows) == 1


def test_small_and_large() -> None:
    """Second order in a small change (half the variance of it), and no overflow in large logits."""
    rows = RNG.normal(size=(1, 50)) * 3
    change = 1e-6 * RNG.normal(size=(1, 50))
    p = np.exp(rows) / np.exp(rows).sum()
    variance = (p * change**2).sum() - (p * change).sum() ** 2
    np.testing.assert_allclose(kl_divergence(rows, rows + change), variance / 2, rtol=1e-3)
    far = np.array([[30000.0, 0.0]], np.float32)
    np.testing.assert_allclose(kl_divergence(far, np.zeros((1, 2), np.float32)), math.log(2))
    np.testing.assert_allclose(kl_divergence(far, -far), 30000)
    assert kl_divergence(100 * far, -100 * far).tolist() == [MAX_NATS]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value: float) -> None:
    """A row with such a value on either side is as far off as can be; the others are not touched."""
    good = RNG.normal(size=(3, 5)).astype(np.float32)
    bad = good.copy()
    bad[1, 2] = value
    assert kl_divergence(good, bad).tolist() == [0, MAX_NATS, 0]
    assert kl_divergence(bad, good).tolist() == [0, MAX_NATS, 0]
    meter = DivergenceMeter()
    meter.add(good, bad)
    meter.add(good, good)
    found = meter.result()
    assert (found.finite, found.snr_db, found.kl_max) == (False, -200, MAX_NATS)
    json.dumps(to_dict(found), allow_nan=False)


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(1, 40), st.sampled_from([0.5, 1.0, 2.0]))
def test_pieces_do_not_show(cut: int, piece: int, temperature: float) -> None:
    """Added at once or in two parts, in pieces of any size: the same figures, which are the rows'."""
    reference = RNG.normal(size=(10, 7)).astype(np.float32)
    other = reference + RNG.normal(size=(10, 7)).astype(np.float32)
    meter = DivergenceMeter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(divergence, "_PIECE", piece)
        meter.add(reference[:cut], other[:cut], temperature=temperature)
        meter.add(reference[cut:], other[cut:], temperature=temperature)
    found = meter.result()
    kl = kl_divergence(reference / temperature, other / temperature)
    assert found.rows == 10
    assert found.kl_mean == pytest.approx(kl.mean())
    assert found.kl_p99 == pytest.approx(np.quantile(kl, 0.99))
    assert found.kl_max == pytest.approx(kl.max())
    assert found.top1 == pytest.approx(np.mean(reference.argmax(1) == other.argmax(1)))
    noise = ((other - reference).astype(float) ** 2).sum()
    snr = 10 * math.log10((reference.astype(float) ** 2).sum() / noise)
    assert found.snr_db == pytest.approx(snr, abs=1e-4)
    assert found.finite


def test_what_cannot_be_compared() -> None:
    rows = np.zeros((2, 3), np.float32)
    for other in (np.zeros((2, 4)), np.zeros(3), np.zeros((3, 2))):
        with pytest.raises(ValueError, match="logits must both be"):
            kl_divergence(rows, other)
    with pytest.raises(ValueError, match="logits must both be"):
        kl_divergence(rows[:, :0], rows[:, :0])
    with pytest.raises(ValueError, match="no rows"):
        top1_agreement(rows[:0], rows[:0])
    with pytest.raises(ValueError, match="no rows"):
        DivergenceMeter().result()
