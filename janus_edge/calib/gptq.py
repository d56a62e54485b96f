"""GPTQ: each row's rounding error is made up for by the rows after it.

Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained
transformers", 2022, arXiv 2210.17323. For inputs X with gram H = X^T X the squared error of the
output is tr(E^T H E), E = W - dq. With H = M D M^T, M unit upper triangular and D diagonal, it is

    sum_k D_k |E_k + sum_{j<k} M_jk E_j|^2

so row k is rounded as W_k + sum_{j<k} M_jk E_j: what remains of its term is that rounding's error.
This is LDLQ of Chee et al., "QuIP", 2023, arXiv 2307.13304, who show that GPTQ computes the same;
it needs one Cholesky factor and no inverse.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.calib.block_scales import BlockFormat
from janus_edge.calib.integers import as_float32, check_block
from janus_edge.calib.quantized_weight import QuantizedWeight
from janus_edge.errors import InputError


def quantize_gptq(
    weight: NDArray[Any],
    gram: NDArray[Any],
    bits: int = 4,
    block: int = 32,
    *,
    symmetric: bool = True,
    search: bool = True,
    damping: float = 0.01,
) -> QuantizedWeight:
    """Quantise ``weight`` [K, N] for inputs with ``gram`` = X^T X [K, K], float32 or float64.

    A block's scales are fitted when it is reached, to the rows as the errors before have moved
    them, with D as the importance of the rows; otherwise everything is as in ``quantize_blocks``.
    ``damping`` times the mean of the diagonal is added to it, ten times as much if the factor does
    not exist. A channel that was never seen is merely rounded (the paper's code clears it, which
    trusts the calibration data more). Needs 3 x 8 K^2 bytes for the factor and 4 K N for the
    errors. Raises InputError for shapes that do not fit, values that are not finite, or a gram that
    no damping up to 1 makes positive definite.
    """
    layout = BlockFormat(bits, symmetric, search)
    check_block(weight, block)
    original = as_float32(weight)
    rows, columns = original.shape
    feedback, importance = _unit_factor(gram, rows, damping)
    values = np.empty((rows, columns), np.int8)
    scales = np.empty((-(-rows // block), columns), np.float32)
    zeros = None if symmetric else np.empty(scales.shape, np.int8)
    errors = np.empty((rows, columns), np.float32)
    for i, top in enumerate(range(0, rows, block)):
        end = min(top + block, rows)
        moved = original[top:end] + feedback[:top, top:end].T @ errors[:top]
        scale, zero = layout.fit(moved, importance[top:end])
        scales[i] = scale
        if zeros is not None and zero is not None:
            zeros[i] = zero
        for k in range(top, end):
            row = moved[k - top] + feedback[top:k, k] @ errors[top:k]
            q = layout.integers(row, scale, zero)
            values[k] = q
            errors[k] = original[k] - (q if zero is None else q - zero) * scale
    return QuantizedWeight(values, scales, zeros, bits, 0, block)


def _unit_factor(
    gram: NDArray[Any], rows: int, damping: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """M [K, K] and D [K] of the damped gram, D relative to its largest."""
    if gram.shape != (rows, rows) or gram.dtype.kind != "f" or not np.isfinite(gram).all():
        raise InputError(
            f"a weight of {rows} rows needs a finite gram [{rows}, {rows}] of floats, "
            f"found {gram.dtype} {list(gram.shape)}; record the inputs again"
        )
    if not 0 < damping <= 1:
        raise InputError(f"damping must be above 0 and at most 1, found {damping}")
    # turned about, since numpy factors H = L L^T and not H = U U^T
    turned = gram[::-1, ::-1].astype(np.float64)
    diagonal = np.einsum("kk->k", turned)
    original, mean = diagonal.copy(), float(diagonal.mean())
    while damping <= 1:
        diagonal[:] = original + damping * (mean if mean > 0 else 1.0)
        try:
            factor = np.linalg.cholesky(turned)[::-1, ::-1]
        except np.linalg.LinAlgError:
            damping *= 10
            continue
        roots = np.einsum("kk->k", factor)
        unit = np.divide(factor, roots, out=np.empty(gram.shape, np.float32), casting="same_kind")
        return unit, ((roots / roots.max()) ** 2).astype(np.float32)
    raise InputError("the gram of the inputs is not positive semidefinite; record the inputs again")
