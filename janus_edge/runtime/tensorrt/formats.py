"""How values lie in the GPU's memory and in ours: the same, but for bfloat16, which numpy lacks.

bfloat16 is the upper half of a float32; values go through float32 here and are rounded to the
nearest, ties to even, as the processor and the GPU round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Format:
    """``member`` of TensorRT's DataType; ``stored`` on the GPU, ``host`` in numpy."""

    member: str
    stored: np.dtype[Any]
    host: np.dtype[Any]

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Contiguous values as they are stored; the array itself where that is the same."""
        values = np.ascontiguousarray(values)
        return values if self.stored == self.host else _to_bfloat16(values)

    def decode(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The inverse of :meth:`encode`."""
        if self.stored == self.host:
            return stored
        return (stored.astype(np.uint32) << 16).view(np.float32)


#: By the names of dtypes in the graph table and the recipes.
FORMATS = {
    "float32": Format("FLOAT", np.dtype(np.float32), np.dtype(np.float32)),
    "float16": Format("HALF", np.dtype(np.float16), np.dtype(np.float16)),
    "bfloat16": Format("BF16", np.dtype(np.uint16), np.dtype(np.float32)),
    "int64": Format("INT64", np.dtype(np.int64), np.dtype(np.int64)),
}


def format_of(dtype: str, float_type: str) -> Format:
    """The format of a port's dtype in a model of ``float_type``."""
    return FORMATS[float_type if dtype == "float" else dtype]


def _to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits = values.view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    # the addition may carry a NaN's bits to infinity or to zero
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
