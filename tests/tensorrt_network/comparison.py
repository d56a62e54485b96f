"""The interpreter compared with the reference, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tests.tensorrt_network.data_types import FLOATS, Array
from tests.tensorrt_network.interpreter import Interpreter
from tests.tensorrt_network.network import Network, Tensor, UnknownError

#: Relative to a tensor's largest number, in float32: sums of up to 576 products in two orders. Seen: 1.2e-6.
FLOAT32 = 3e-6
#: Units in the last place of a tensor's largest number, in 16 bits. Both sides compute in float32 and
#: round, but a value near the middle of two numbers may round either way. The parser also rounds inside
#: an RMS norm, before its weight. Seen: 1.
UNITS = 1
_MANTISSA = {"HALF": 10, "BF16": 7}


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a tensor is from the reference. Integers, FP8 and FP4 must be equal: ``limit`` is 0."""

    name: str
    dtype: str
    largest: float
    limit: float

    def __bool__(self) -> bool:
        """Whether the difference is beyond the limit."""
        return not self.largest <= self.limit

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.dtype}): {self.largest:.2e}, but only {self.limit:.2e} is allowed"
        )


def limit(tensor: Tensor, reference: Array) -> float:
    """Return the largest difference that is allowed."""
    if tensor.dtype != "FLOAT" and tensor.dtype not in _MANTISSA:
        return 0.0
    largest = float(np.abs(reference).max(initial=0.0))
    if tensor.dtype == "FLOAT":
        return FLOAT32 * largest
    exponent = np.floor(np.log2(max(largest, 2.0**-14)))
    return UNITS * float(2.0 ** (exponent - _MANTISSA[tensor.dtype]))


def difference(tensor: Tensor, found: Array, reference: Array) -> Difference:
    """Compare two arrays of one shape; numbers that are not finite must be the same."""
    if found.shape != reference.shape:
        return Difference(tensor.name, tensor.dtype, float("inf"), 0.0)
    if tensor.dtype not in FLOATS:
        return Difference(tensor.name, tensor.dtype, float((found != reference).sum()), 0.0)
    with np.errstate(invalid="ignore"):
        apart = np.where(found == reference, 0, np.abs(found - reference))
    largest = float(apart.max(initial=0.0))
    return Difference(tensor.name, tensor.dtype, largest, limit(tensor, reference))


def teacher_forced(
    network: Network, feeds: Mapping[str, Array], reference: Mapping[str, Array]
) -> list[Difference]:
    """Return the differences of all tensors that both have, in the order of computation.

    Each tensor is replaced with the reference's after its comparison, so a mistake shows only where it
    is made. A reference tensor that the network lacks is infinitely far off. Tensors after a wrong shape
    may not be computable; they are then left out.
    """
    found: dict[str, Difference] = {}

    def compare(tensor: Tensor, value: Array) -> Array:
        if tensor.name not in reference:
            return value
        wanted = reference[tensor.name]
        found[tensor.name] = difference(tensor, value, wanted)
        return wanted.astype(value.dtype)

    given = {name: value.copy() for name, value in feeds.items()}
    try:
        Interpreter(network, fold=False).run(given, compare)
    except UnknownError:
        if not any(found.values()):
            raise
        return [*found.values()]
    lost = (name for name in reference if name not in found)
    return [*found.values(), *(Difference(name, "-", float("inf"), 0.0) for name in lost)]
