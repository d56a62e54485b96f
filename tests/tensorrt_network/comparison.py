"""The interpreter beside the reference, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tests.tensorrt_network.data_types import FLOATS, Array
from tests.tensorrt_network.interpreter import Interpreter
from tests.tensorrt_network.network import Network, Tensor, UnknownError

#: Of a tensor's largest number, in float32: sums of up to 576 products in two orders. Seen: 1.2e-6.
FLOAT32 = 3e-6
#: Units in the last place of a tensor's largest number, in 16 bits: both sides compute in float32 and
#: round, but a sum that lies beside the middle of two numbers is rounded either way, and ONNX Runtime
#: leaves out roundings between two operators that it computes in float32. Seen: 1.
UNITS = 1
_MANTISSA = {"HALF": 10, "BF16": 7, "FP8": 3, "FP4": 1}


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a tensor is from the reference; ``limit`` is 0 for integers, which must be equal."""

    name: str
    dtype: str
    largest: float
    limit: float

    def __bool__(self) -> bool:
        """Whether it is beyond the limit."""
        return not self.largest <= self.limit

    def __str__(self) -> str:
        return f"{self.name} ({self.dtype}): {self.largest:.2e}, and {self.limit:.2e} is allowed"


def limit(tensor: Tensor, reference: Array) -> float:
    """The largest difference that is allowed."""
    if tensor.dtype not in FLOATS:
        return 0.0
    largest = float(np.abs(reference).max(initial=0.0))
    if tensor.dtype == "FLOAT":
        return FLOAT32 * largest
    exponent = np.floor(np.log2(max(largest, 2.0**-14)))
    return UNITS * float(2.0 ** (exponent - _MANTISSA[tensor.dtype]))


def difference(tensor: Tensor, found: Array, reference: Array) -> Difference:
    """Of two arrays, which must have one shape; numbers that are not finite must be the same."""
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
    """The differences of all tensors that both have, in the order in which they are computed.

    Each is replaced by the reference's after it was compared, so that a mistake is seen where it is
    made and nowhere else. A tensor of the reference that the network lacks is infinitely far off. What
    comes after a wrong shape may not be computable, and is then left out.
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
