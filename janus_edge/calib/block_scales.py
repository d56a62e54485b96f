"""Scales and zero points for one block of a weight: min/max, or the least squared error.

Integers are signed, as in ONNX's int4 and int8: [-8, 7] and [-128, 127]. Adding 8 (128) to values
and zero points gives the uint4 (uint8) convention of the same numbers.

* Symmetric: dq = q s. Scales are positive, because TensorRT's parser refuses others, so the sign
  cannot be chosen by a negative scale as in llama.cpp's Q4_0. Instead
  s = max(max(w) / 7, max(-w) / 8): a negative extreme uses -8, and where the extreme is
  positive the search may shrink s by 7/8, which costs that one weight a step and gives all others
  the finer grid.
* Asymmetric: dq = (q - z) s, s = (max(w, 0) - min(w, 0)) / 15, z = round(-8 - min(w, 0) / s).
  Zero is representable exactly, and no weight is off by more than s / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import InputError

#: Factors on the min/max scale that the search tries, 1 first: a tie leaves the scale as it is.
FACTORS = tuple(float(f) for f in np.linspace(1.0, 0.7, 13))

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """How the weights of a block become integers; ``bits`` is 4 or 8.

    Raises InputError for other bits.
    """

    bits: int = 4
    symmetric: bool = True
    search: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise InputError(f"blocked weights have 4 or 8 bits, found {self.bits}")

    @property
    def low(self) -> int:
        """The smallest integer."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """The largest integer."""
        return (1 << (self.bits - 1)) - 1

    def fit(self, weight: Floats, importance: Floats | None = None) -> tuple[Floats, Floats | None]:
        """Scales [N] and zero points [N] (None if symmetric), for a block ``weight`` [B, N].

        With ``search`` the scale minimises sum_k importance[k] (w - dq)^2, first over FACTORS times
        the min/max scale, then by one step of least squares, s = sum(i w q) / sum(i q^2) for the
        integers q found (as llama.cpp's make_qx_quants); each is kept only where it is better. A
        block of zeros has scale 1. ``importance`` [B] is not negative; None means equal.
        """
        least: Floats = np.minimum(weight.min(0), 0)
        most: Floats = np.maximum(weight.max(0), 0)
        if self.symmetric:
            base: Floats = np.maximum(most / self.high, least / self.low)
        else:  # two quotients, since the difference of large weights may overflow
            steps = np.float32(self.high - self.low)
            base = most / steps - least / steps
        base = np.where(base < np.finfo(np.float32).tiny, np.float32(1), base)
        zero = None
        if not self.symmetric:
            zero = np.clip(np.rint(self.low - least / base), self.low, self.high)
        if self.search:
            base *= self._best_factor(weight / base, zero, _relative(importance))
        return base, zero

    def integers(self, weight: Floats, scales: Floats, zero: Floats | None) -> Floats:
        """The integers of ``weight`` [..., N] as floats: clip(round(w / s) + z, low, high)."""
        q = weight / scales
        np.rint(q, out=q)
        if zero is not None:
            q += zero
        return np.clip(q, self.low, self.high, out=q)

    def _best_factor(self, steps: Floats, zero: Floats | None, importance: Floats | None) -> Floats:
        """The factor [N] on the min/max scale, for weights [B, N] in units of that scale."""
        best = np.ones(steps.shape[1], np.float32)
        best_error = np.full_like(best, np.inf)
        for candidate in FACTORS:
            factor = np.float32(candidate)
            rounded = self._rounded(steps, factor, zero)
            error = _error(rounded, factor, steps, importance)
            better = error < best_error
            best[better], best_error[better] = factor, error[better]
        rounded = self._rounded(steps, best, zero)
        products = _sum(rounded * steps, importance)
        squares = _sum(rounded * rounded, importance)
        usable = (products > 0) & (squares > 0)
        fitted = np.divide(products, squares, out=best.copy(), where=usable)
        error = _error(self._rounded(steps, fitted, zero), fitted, steps, importance)
        return np.where(error < best_error, fitted, best)

    def _rounded(self, steps: Floats, factor: Floats | np.float32, zero: Floats | None) -> Floats:
        """q - z for the scale ``factor``."""
        q = steps / factor
        np.rint(q, out=q)
        if zero is None:
            return np.clip(q, self.low, self.high, out=q)
        return np.clip(q, self.low - zero, self.high - zero, out=q)


def _error(
    rounded: Floats, factor: Floats | np.float32, steps: Floats, importance: Floats | None
) -> Floats:
    """sum_k importance[k] (factor rounded - steps)^2 [N]."""
    error = rounded * factor
    error -= steps
    error *= error
    return _sum(error, importance)


def _sum(values: Floats, importance: Floats | None) -> Floats:
    """sum_k importance[k] values[k] [N]; overwrites ``values``.

    Row by row and without BLAS, so that the integers do not depend on the machine.
    """
    if importance is not None:
        values *= importance[:, None]
    return np.asarray(values.sum(0))


def _relative(importance: Floats | None) -> Floats | None:
    """Importance [B] with 1 as its largest, so that errors neither vanish nor overflow."""
    largest = 0.0 if importance is None else float(importance.max())
    if importance is None or not largest:
        return None
    return importance / np.float32(largest)
