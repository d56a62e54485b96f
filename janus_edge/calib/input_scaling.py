"""Factors on the channels of one input that feeds one or more linear weights.

X W = (X / s)(s W): the division is folded into what makes X (a norm's weight, the columns of the
linear layer before), s into the rows of every weight that reads X. SmoothQuant and AWQ choose s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.calib.integers import as_float32
from janus_edge.errors import InputError

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class InputScaling:
    """What was chosen: ``factors`` [K] float32, all positive, and the exponent ``alpha``.

    ``alpha`` is None where no exponent was better than leaving the input alone; the factors are
    then ones. The errors are ||Y - Y_quantised||^2 / ||Y||^2 over the sample rows and all weights,
    without and with the factors.
    """

    factors: Floats
    alpha: float | None
    error_before: float
    error_after: float


def check_operands(
    rows: NDArray[Any], weights: Sequence[NDArray[Any]]
) -> tuple[Floats, list[Floats]]:
    """Sample rows X [n, K] and weights [K, N_i] in float32.

    Raises InputError unless there are some of both, they fit and are finite.
    """
    if not weights or rows.ndim != 2 or not len(rows):
        raise InputError("scaling an input takes sample rows [n, K] and at least one weight [K, N]")
    for weight in weights:
        if weight.ndim != 2 or len(weight) != rows.shape[1]:
            raise InputError(
                f"a weight {list(weight.shape)} does not take rows of {rows.shape[1]} channels"
            )
    return as_float32(rows), [as_float32(weight) for weight in weights]


def channel_values(values: NDArray[Any], channels: int, what: str) -> Floats:
    """``values`` [K] in float32; raises InputError unless finite and none negative."""
    if values.shape != (channels,):
        raise InputError(f"{what} must be [{channels}], found {list(values.shape)}")
    floats = as_float32(values)
    if floats.min() < 0:
        raise InputError(f"{what} must not be negative: it is taken of |x|")
    return floats


def relative_error(actual: Sequence[Floats], outputs: Sequence[Floats]) -> float:
    """sum ||Y - Y'||^2 / sum ||Y||^2 over the weights; 0 where both sums are."""
    lost = sum(_energy(a - y) for a, y in zip(actual, outputs, strict=True))
    signal = sum(_energy(y) for y in outputs)
    return lost / signal if signal else float(lost > 0)


def _energy(values: Floats) -> float:
    return float(np.sum(values**2, dtype=np.float64))
