"""Comparing a graph's results with the reference's: figures, tolerances, verdicts.

The verdict on floats is relative to the size of the reference (signal-to-noise), so that one
tolerance per dtype serves logits of 30 and pixels of 1 alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Least signal-to-noise ratio in dB that passes, per float type. float32 kernels that sum in
#: another order lose a few of their 24 bits (144 dB) over two dozen layers; float16 has 11 bits
#: (66 dB) and bfloat16 8 (48 dB), of which rounding every intermediate result costs some more.
TOLERANCE_DB = {"float32": 90.0, "float16": 40.0, "bfloat16": 25.0}

#: A VQ code may differ from the reference's where two codebook entries are equally near: the
#: largest cosine that may be lost by it, per float type.
TOLERANCE_COSINE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}

#: Figures are kept finite, so that they stay valid JSON.
MAX_DB = 200.0


@dataclass(frozen=True, slots=True)
class Difference:
    """How far results are from the reference's; truthy when within the tolerance.

    ``measure`` names the field that decides: ``snr_db`` must reach ``tolerance``, ``max_abs`` must
    not exceed it. ``snr_db`` is 10 log10(sum(reference^2) / sum((actual - reference)^2)), limited
    to +-200; ``top1`` is the share of rows that have their largest entry at the same place, or of
    equal entries for integers. None where a figure has no meaning.
    """

    measure: str
    tolerance: float
    max_abs: float
    mean_abs: float
    cosine: float | None = None
    snr_db: float | None = None
    top1: float | None = None

    def __post_init__(self) -> None:
        if self.measure not in ("snr_db", "max_abs"):
            raise ValueError(f"measure must be snr_db or max_abs, found {self.measure!r}")
        if getattr(self, self.measure) is None:
            raise ValueError(f"{self.measure} decides, so it must be a number")

    def __bool__(self) -> bool:
        if self.measure == "snr_db":
            return self.snr_db is not None and self.snr_db >= self.tolerance
        return self.max_abs <= self.tolerance


def difference(
    actual: npt.ArrayLike, reference: npt.ArrayLike, float_type: str, *, logits: bool = False
) -> Difference:
    """Compare two arrays of one shape: floats by signal-to-noise, integers by equality.

    With ``logits`` the last axis is ranked and ``top1`` filled in. NaN or infinity on
    either side fails. Raises ValueError when the shapes differ.
    """
    a, r = np.asarray(actual), np.asarray(reference)
    if a.shape != r.shape:
        raise ValueError(f"shapes differ: {a.shape} against the reference's {r.shape}")
    if np.issubdtype(r.dtype, np.integer):
        error = np.abs(a.astype(np.int64) - r.astype(np.int64))
        same = float(np.mean(error == 0))
        return Difference("max_abs", 0.0, float(error.max()), float(error.mean()), top1=same)
    top1 = float(np.mean(a.argmax(-1) == r.argmax(-1))) if logits else None
    a, r = a.astype(np.float64).ravel(), r.astype(np.float64).ravel()
    tolerance, largest = TOLERANCE_DB[float_type], float(np.finfo(np.float32).max)
    if not (np.isfinite(a).all() and np.isfinite(r).all()):
        return Difference("snr_db", tolerance, largest, largest, 0.0, -MAX_DB, top1)
    error = np.abs(a - r)
    signal, noise = float(r @ r), float(error @ error)
    norms = math.sqrt(float(a @ a)) * math.sqrt(signal)
    cosine = float(a @ r) / norms if norms > 0 else float(noise == 0)
    return Difference(
        "snr_db", tolerance, float(error.max()), float(error.mean()), cosine,
        decibels(signal, noise), top1,
    )  # fmt: skip


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise), limited to +-200."""
    if noise == 0:
        return MAX_DB
    if signal == 0:
        return -MAX_DB
    return max(-MAX_DB, min(MAX_DB, 10 * math.log10(signal / noise)))


def code_difference(
    codes: npt.NDArray[np.int64],
    reference: npt.NDArray[np.int64],
    cosines: npt.NDArray[np.floating],
    float_type: str,
) -> Difference:
    """Compare VQ codes [N, T], given the reference's cosines [N, T, K] with every entry.

    ``max_abs`` is the largest cosine that a code lost against the reference's choice.
    """
    best = np.take_along_axis(cosines, reference[..., None], -1)
    lost = np.maximum(best - np.take_along_axis(cosines, codes[..., None], -1), 0)
    same = float(np.mean(codes == reference))
    tolerance = TOLERANCE_COSINE[float_type]
    return Difference("max_abs", tolerance, float(lost.max()), float(lost.mean()), top1=same)
