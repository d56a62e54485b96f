"""A weight of 8 or 4 bits and its scales, in the conventions of ONNX's DequantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.calib.number_formats import E2M1, E4M3

_TYPES = {8: (np.dtype(np.int8), E4M3), 4: (np.dtype(np.int8), E2M1)}


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """dq = (values - zero_points) * scales, as DequantizeLinear computes it in float32.

    ``values`` has the weight's shape: int8 within ``bits``, or E4M3 (8) or E2M1 (4). Per channel
    (``block`` None) ``scales`` is float32 [length of ``axis``]. In blocks it has the weight's shape,
    with ceil(length / block) along ``axis``. All scales are positive. ``zero_points`` is int8 like
    ``values``, in the shape of the scales, or None for zeros. With ``scale_unit`` the scales are stored as
    E4M3 multiples of it. Raises ValueError for anything else.
    """

    values: NDArray[Any]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int8] | None
    bits: int
    axis: int
    block: int | None
    scale_unit: float | None = None

    def __post_init__(self) -> None:
        shape = list(self.values.shape)
        if self.bits not in (4, 8) or not 0 <= self.axis < len(shape):
            raise ValueError(f"{self.bits} bits along axis {self.axis} of a weight {shape}")
        length = shape[self.axis]
        expected = [length]
        if self.block is not None:
            expected = shape.copy()
            expected[self.axis] = -(-length // self.block)
        if list(self.scales.shape) != expected:
            raise ValueError(f"scales must be {expected}, found {list(self.scales.shape)}")
        if self.values.dtype not in _TYPES[self.bits] or self.scales.dtype != np.float32:
            raise ValueError(
                f"values of {self.bits} bits must be {' or '.join(map(str, _TYPES[self.bits]))} and "
                f"scales float32, found {self.values.dtype} and {self.scales.dtype}"
            )
        if not (self.scales > 0).all() or not np.isfinite(self.scales).all():
            raise ValueError("scales must be positive and finite")
        zero = self.zero_points
        if zero is not None and (zero.dtype != np.int8 or zero.shape != self.scales.shape):
            raise ValueError(f"zero points must be int8 {expected}")
        if not self.integer and zero is not None:
            raise ValueError(f"{self.values.dtype} has no zero points")
        parts = (self.values, zero) if self.integer and self.bits == 4 else ()
        if not all(part is None or _fits_int4(part) for part in parts):
            raise ValueError("4-bit integers must lie in [-8, 7]")

    @property
    def integer(self) -> bool:
        """Whether the values are integers."""
        return self.values.dtype == np.int8

    def dequantized(self) -> NDArray[np.float32]:
        """The weight that the values stand for, float32."""
        values = self.values.astype(np.float32)
        if self.zero_points is not None:
            values -= self._spread(self.zero_points)
        values *= self._spread(self.scales)
        return values

    def _spread(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """Reshape scales or zero points so that they broadcast to the values."""
        if self.block is None:
            shape = [1] * self.values.ndim
            shape[self.axis] = -1
            return parameters.reshape(shape)
        repeated = np.repeat(parameters, self.block, self.axis)
        return repeated.take(np.arange(self.values.shape[self.axis]), self.axis)


def _fits_int4(values: NDArray[np.int8]) -> bool:
    return not values.size or (int(values.min()) >= -8 and int(values.max()) <= 7)
