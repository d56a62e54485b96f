"""Whether numbers are finite, from their bits: numpy's minimum of float16 takes a hundred times as long.

The bits of a float without its sign grow with its magnitude, and infinities and NaN have the largest
(IEEE 754): the largest of a whole array says whether all are finite, and how large they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: By the stored type: signed and unsigned integers of its size. bfloat16 is stored as its 16 bits.
_INTEGERS: dict[str, tuple[Any, Any]] = {
    "float16": (np.int16, np.uint16),
    "uint16": (np.int16, np.uint16),
    "float32": (np.int32, np.uint32),
}


def largest_magnitude(stored: NDArray[Any]) -> float:
    """The largest magnitude of float16, float32, or bfloat16 as uint16; 0 for an empty array.

    Infinity or NaN if any value is one of them (NaN counts as larger than infinity). Raises TypeError
    for any other dtype.
    """
    kind = stored.dtype.name
    if kind not in _INTEGERS:
        raise TypeError(f"cannot read the bits of {kind}")
    if not stored.size:
        return 0.0
    signed, unsigned = (stored.view(integer) for integer in _INTEGERS[kind])
    # as signed integers the largest value is the largest positive float, as unsigned ones it is the
    # negative float of the largest magnitude, if there is one; no array is made for this
    without_sign = np.iinfo(signed.dtype).max
    bits = max(int(signed.max()), int(unsigned.max()) & without_sign)
    if kind == "uint16":
        return float(np.array(bits << 16, np.uint32).view(np.float32))
    return float(np.array(bits, unsigned.dtype).view(stored.dtype))
