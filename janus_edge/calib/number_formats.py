"""8-bit number formats with one scale per channel or input: int8 and fp8 (E4M3).

A range ``amax`` becomes ``scale = amax / largest``. x becomes the number nearest to x / scale, rounding
halves to even and saturating at the largest, as in ONNX's QuantizeLinear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

#: E4M3 without infinities (ONNX's float8e4m3fn): 3 bits of mantissa, 2**-9 to 448.
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)

#: E2M1 (ONNX's float4e2m1): 0, 0.5, 1, 1.5, 2, 3, 4 and 6, and their negatives.
E2M1 = np.dtype(ml_dtypes.float4_e2m1fn)


@dataclass(frozen=True, slots=True, eq=False)
class NumberFormat:
    """A number format; ``levels`` [L] float32 are its magnitudes in order, from 0 to ``largest``."""

    name: str
    dtype: np.dtype[Any]
    data_type: int
    levels: NDArray[np.float32]

    @property
    def largest(self) -> float:
        """The number that the end of a range maps to."""
        return float(self.levels[-1])

    def rounded(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Round ``values``, in units of the scale, to the nearest numbers."""
        limited = np.clip(values, -self.largest, self.largest)
        if self.dtype == np.int8:
            np.rint(limited, out=limited)
        return limited.astype(self.dtype)


#: Without -128, so that the range is symmetric.
INT8 = NumberFormat("int8", np.dtype(np.int8), TensorProto.INT8, np.arange(128, dtype=np.float32))

#: All codes below 0x7f, which is NaN.
FP8 = NumberFormat(
    "fp8", E4M3, TensorProto.FLOAT8E4M3FN, np.arange(127, dtype=np.uint8).view(E4M3).astype(np.float32)
)  # fmt: skip

#: By name, as in `janus_edge/recipe.py`.
FORMATS = {one.name: one for one in (INT8, FP8)}
