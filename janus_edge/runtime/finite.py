"""Check numbers for finiteness by their bits: numpy's float16 minimum is a hundred times slower.

The bits of a float without its sign grow with its magnitude, and infinities and NaN have the largest
(IEEE 754). So the maximum of an array shows whether all are finite, and how large they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Signed and unsigned integers of each stored type's size. bfloat16 is stored as its 16 bits.
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
    # the maximum as signed integers is the largest positive float; as unsigned integers it is the
    # negative float of largest magnitude, if any. Neither allocates an array
    without_sign = np.iinfo(signed.dtype).max
    bits = max(int(signed.max()), int(unsigned.max()) & without_sign)
    if kind == "uint16":
        return float(np.array(bits << 16, np.uint32).view(np.float32))
    return float(np.array(bits, unsigned.dtype).view(stored.dtype))
