"""GPTQ: later rows make up for the rounding of earlier ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_edge.calib.gptq import quantize_gptq
from janus_edge.calib.integers import quantize_blocks
from janus_edge.calib.quantized_weight import QuantizedWeight
from janus_edge.errors import InputError

Floats = NDArray[np.float32]
FORMATS = [(4, True), (4, False), (8, True), (8, False)]


def output_error(rows: Floats, weight: Floats, quantized: QuantizedWeight) -> float:
    return float(np.sum((rows @ (weight - quantized.dequantized())) ** 2))


def same(a: QuantizedWeight, b: QuantizedWeight) -> bool:
    zeros = (a.zero_points is None and b.zero_points is None) or np.array_equal(
        a.zero_points, b.zero_points  # type: ignore[arg-type]
    )  # fmt: skip
    return zeros and np.array_equal(a.values, b.values) and np.array_equal(a.scales, b.scales)


@pytest.mark.parametrize(("bits", "symmetric"), FORMATS)
@pytest.mark.parametrize("block", [32, 64])
def test_beats_rounding(
    bits: int, symmetric: bool, block: int, weight: Floats, correlated: Floats
) -> None:
    """On correlated inputs less than half the error remains, also on rows it has not seen."""
    gram = correlated[:400].T @ correlated[:400]
    rounded = quantize_blocks(weight, bits, block, symmetric=symmetric)
    compensated = quantize_gptq(weight, gram, bits, block, symmetric=symmetric)
    for rows in (correlated[:400], correlated[400:]):
        ratio = output_error(rows, weight, compensated) / output_error(rows, weight, rounded)
        assert ratio < 0.5


@pytest.mark.parametrize(("bits", "symmetric"), FORMATS)
def test_independent_inputs_are_rounded(bits: int, symmetric: bool, weight: Floats) -> None:
    """With the identity, or nothing seen, there is nothing to make up with."""
    rounded = quantize_blocks(weight[:81], bits, symmetric=symmetric)
    for gram in (np.eye(81), np.zeros((81, 81)), 1e-20 * np.eye(81, dtype=np.float32)):
        assert same(quantize_gptq(weight[:81], gram, bits, symmetric=symmetric), rounded)


def test_against_the_paper(weight: Floats, correlated: Floats) -> None:
    """The integers of the published algorithm: inverse Hessian, its Cholesky factor, updates.

    Same scales for both (no search, one block), so that only the compensation is compared.
    """
    w, x = weight[:32].astype(np.float64), correlated[:, :32].astype(np.float64)
    quantized = quantize_gptq(weight[:32], x.T @ x, search=False)
    hessian = x.T @ x
    hessian += 0.01 * np.trace(hessian) / 32 * np.eye(32)
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    for k in range(32):
        q = np.clip(np.rint(w[k] / quantized.scales[0]), -8, 7)
        # a value halfway between two integers may fall to either side
        assert (quantized.values[k] != q).sum() == 0
        w[k:] -= np.outer(upper[k, k:], (w[k] - q * quantized.scales[0]) / upper[k, k])


def test_the_error_is_as_its_terms_say(weight: Floats, correlated: Floats) -> None:
    """A gram in float32 serves as well as in float64."""
    rows = correlated.astype(np.float64)
    exact = quantize_gptq(weight, rows.T @ rows)
    single = quantize_gptq(weight, correlated.T @ correlated)
    errors = [output_error(correlated, weight, q) for q in (exact, single)]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)


def test_channels_never_seen(weight: Floats, correlated: Floats) -> None:
    """They are rounded like any weight, and the others are compensated all the same."""
    rows = correlated.copy()
    rows[:, [3, 50]] = 0
    quantized = quantize_gptq(weight, rows.T @ rows)
    scales = np.repeat(quantized.scales, 32, 0)
    error = np.abs(weight - quantized.dequantized())[[3, 50]]
    clipped = np.abs(weight[[3, 50]]) > 7 * scales[[3, 50]]
    assert (error <= scales[[3, 50]] * 0.501)[~clipped].all()
    rounded = quantize_blocks(weight)
    assert output_error(rows, weight, quantized) < 0.5 * output_error(rows, weight, rounded)


def test_fewer_rows_than_channels(weight: Floats, correlated: Floats) -> None:
    """A singular gram is damped until it can be factored."""
    rows = correlated[:5]
    quantized = quantize_gptq(weight, rows.T @ rows, damping=1e-12)
    rounded = quantize_blocks(weight)
    assert output_error(rows, weight, quantized) < output_error(rows, weight, rounded)


def test_damping_grows_until_it_helps(weight: Floats) -> None:
    """A gram that rounding made indefinite is used; what no damping mends is refused."""
    gram = np.eye(96)
    gram[0, 1] = gram[1, 0] = 1.05
    quantize_gptq(weight, gram)
    gram[0, 1] = gram[1, 0] = 50.0
    with pytest.raises(InputError, match="not positive semidefinite"):
        quantize_gptq(weight, gram)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gram": np.eye(95)}, r"needs a finite gram \[96, 96\]"),
        ({"gram": np.full((96, 96), np.nan)}, "finite gram"),
        ({"gram": np.eye(96, dtype=np.int64)}, "found int64"),
        ({"damping": 0.0}, "damping must be above 0"),
        ({"bits": 2}, "4 or 8 bits"),
        ({"block": 16}, "block must be one of"),
        ({"weight": np.full((96, 40), np.inf, np.float32)}, "NaN or infinite"),
    ],
)
def test_unusable_arguments(weight: Floats, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize_gptq(**{"weight": weight, "gram": np.eye(96), **arguments})
