"""How llama.cpp orders the rows of queries and keys, which it rotates in neighbouring pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def paired(matrix: NDArray[Any], head_dim: int) -> NDArray[Any]:
    """[heads * D, in]: the rows of each head from [first halves, second halves] to pairs of both."""
    heads = len(matrix) // head_dim
    halves = matrix.reshape(heads, 2, head_dim // 2, -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(matrix.shape))
