"""SmoothQuant: outliers of an input's channels are moved into the weights, where they do no harm.

Xiao et al., "SmoothQuant: accurate and efficient post-training quantization for large language
models", 2022, arXiv 2211.10438: s_j = max|X_j|^alpha / max|W_j|^(1 - alpha).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.calib.input_scaling import (
    Floats,
    InputScaling,
    channel_values,
    check_operands,
    relative_error,
)
from janus_edge.calib.integers import quantize_per_channel
from janus_edge.calib.number_formats import INT8, NumberFormat
from janus_edge.calib.ranges import scale_of

#: Exponents that are tried.
ALPHAS = tuple(i / 20 for i in range(21))


def smoothing_factors(
    input_maximum: NDArray[Any], weights: Sequence[NDArray[Any]], alpha: float
) -> Floats:
    """s [K] float32 from max |X_j| [K] and the weights [K, N_i] that read X.

    max |W_j| is over row j of all weights. A channel that was never seen, or that no weight reads,
    keeps the factor 1: the formula would make it 0 or infinite.
    """
    weight_maximum = np.max([np.abs(weight).max(1) for weight in weights], 0).astype(np.float64)
    seen = (input_maximum > 0) & (weight_maximum > 0)
    x = np.where(seen, input_maximum, 1).astype(np.float64)
    factors = x**alpha / np.where(seen, weight_maximum, 1) ** (1 - alpha)
    # float32 and its reciprocal hold these; no model comes near
    return np.where(seen, np.clip(factors, 1e-30, 1e30), 1).astype(np.float32)


def smooth(
    rows: NDArray[Any],
    weights: Sequence[NDArray[Any]],
    *,
    input_maximum: NDArray[Any] | None = None,
    alphas: Sequence[float] = ALPHAS,
    numbers: NumberFormat = INT8,
) -> InputScaling:
    """The factors whose exponent minimises the output's squared error on ``rows`` in 8 bits.

    ``rows`` X [n, K] are samples of the input, ``weights`` [K, N_i] all that read it. Weights
    are ``numbers`` with a scale per output; the input has one scale, max_j(max|X_j| / s_j) / largest.
    ``input_maximum`` [K] is max |X_j| over the whole calibration data, by default over ``rows``.
    Not smoothing is a candidate, so the error never grows. Takes a product X W_i per exponent.
    Raises InputError for operands that do not fit or are not finite.
    """
    x, matrices = check_operands(rows, weights)
    peaks = np.abs(x).max(0) if input_maximum is None else input_maximum
    peaks = channel_values(peaks, x.shape[1], "the maximum of each channel")
    outputs = [x @ w for w in matrices]
    ones = np.ones(x.shape[1], np.float32)
    before = _error(x, matrices, outputs, ones, peaks, numbers)
    best = InputScaling(ones, None, before, before)
    for alpha in alphas:
        factors = smoothing_factors(peaks, matrices, alpha)
        error = _error(x, matrices, outputs, factors, peaks, numbers)
        if error < best.error_after:
            best = InputScaling(factors, alpha, before, error)
    return best


def _error(
    x: Floats,
    weights: list[Floats],
    outputs: list[Floats],
    factors: Floats,
    peaks: Floats,
    numbers: NumberFormat,
) -> float:
    """Relative error of the outputs in ``numbers``, with ``factors`` folded in."""
    scale = np.float32(scale_of(float(np.max(peaks / factors)), numbers))
    rounded = numbers.rounded(x / factors / scale).astype(np.float32)
    actual = []
    for weight in weights:
        quantized = quantize_per_channel(weight * factors[:, None], 1, numbers)
        product = rounded @ quantized.values.astype(np.float32)
        actual.append(product * (scale * quantized.scales))
    return relative_error(actual, outputs)
