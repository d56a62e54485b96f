"""AWQ: weights that meet large inputs are scaled up before they are rounded.

Lin et al., "AWQ: activation-aware weight quantization for LLM compression and acceleration",
2023, arXiv 2306.00978: s_j = mean|X_j|^alpha / sqrt(max s min s). The paper's search for a clip of
the weights is left to the search for scales in ``block_scales.py``, which does the same per block.
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
from janus_edge.calib.integers import quantize_blocks

#: Exponents that are tried, as many as in the paper's code; 0 leaves the input alone.
ALPHAS = tuple(i / 20 for i in range(21))


def awareness_factors(mean_abs: NDArray[Any], alpha: float) -> Floats:
    """s [K] float32 from mean |X_j| [K]; the geometric mean of the largest and the smallest is 1.

    A channel that was never seen takes the smallest mean that was.
    """
    seen = mean_abs > 0
    if not seen.any():
        return np.ones(len(mean_abs), np.float32)
    floor = mean_abs[seen].min()
    powers = np.maximum(mean_abs, floor).astype(np.float64) ** alpha
    normalised = powers / np.sqrt(powers.max() * powers.min())
    return np.asarray(normalised, np.float32)


def scale_for_blocks(
    rows: NDArray[Any],
    weights: Sequence[NDArray[Any]],
    bits: int = 4,
    block: int = 32,
    *,
    symmetric: bool = True,
    search: bool = False,
    mean_abs: NDArray[Any] | None = None,
    alphas: Sequence[float] = ALPHAS,
) -> InputScaling:
    """The factors whose exponent minimises the output's squared error with blocked weights.

    ``rows`` X [n, K] are samples of the input, ``weights`` [K, N_i] all that read it; they
    share the factors. ``mean_abs`` [K] is mean |X_j| over the calibration data, by default over
    ``rows``. Weights are quantised as by ``quantize_blocks`` with these arguments; ``search``
    takes ten times as long, and both errors are with it or without it. Leaving the input alone is a
    candidate, so the error never grows. Raises InputError for operands that do not fit or are
    not finite.
    """
    x, matrices = check_operands(rows, weights)
    means = np.abs(x).mean(0) if mean_abs is None else mean_abs
    means = channel_values(means, x.shape[1], "the mean of each channel")
    outputs = [x @ w for w in matrices]

    def error(factors: Floats) -> float:
        scaled: Floats = x / factors
        actual: list[Floats] = []
        for weight in matrices:
            folded = weight * factors[:, None]
            rounded = quantize_blocks(folded, bits, block, symmetric=symmetric, search=search)
            actual.append(scaled @ rounded.dequantized())
        return relative_error(actual, outputs)

    ones = np.ones(x.shape[1], np.float32)
    before = error(ones)
    best = InputScaling(ones, None, before, before)
    for alpha in alphas:
        if not alpha:
            continue  # the ones again
        factors = awareness_factors(means, alpha)
        after = error(factors)
        if after < best.error_after:
            best = InputScaling(factors, alpha, before, after)
    return best
