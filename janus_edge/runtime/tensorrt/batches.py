"""A call with more rows than a plan was built for, as several calls of as many rows as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import BackendError
from janus_edge.graphs import Port, Signature

if TYPE_CHECKING:
    from janus_edge.runtime.tensorrt.plan import Plan

Array = NDArray[Any]

#: Symbols of a first axis along which a graph treats every row alone. ``2P`` is both halves of P.
_BATCHES = ("N", "P", "2P")


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows ``start`` to ``stop`` of ``count``; of an axis of twice as many, those of both halves."""

    start: int
    stop: int
    count: int

    def take(self, port: Port, array: Array) -> Array:
        """This batch's rows of the array, copied; an array without a batch as it is."""
        places = self._places(port)
        return np.concatenate([array[one] for one in places]) if places else array

    def put(self, port: Port, array: Array, rows: Array) -> None:
        """Write this batch's rows to their places in the array."""
        size = self.stop - self.start
        for half, place in enumerate(self._places(port)):
            array[place] = rows[half * size : (half + 1) * size]

    def _places(self, port: Port) -> list[slice]:
        one = slice(self.start, self.stop)
        if not port.shape or port.shape[0] not in _BATCHES:
            return []
        if port.shape[0] == "2P":
            return [one, slice(self.count + self.start, self.count + self.stop)]
        return [one]


def batches(
    plan: Plan, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> Iterator[Batch]:
    """The batches that ``plan`` takes one after the other; one alone where it takes all rows.

    Raises BackendError where there are several and the arrays have different numbers of rows.
    """
    arrays, ports = {**inputs, **outputs}, _ports(plan.signature)
    counts = {port.name: _rows(port, arrays[port.name].shape[0]) for port in ports}
    limits = [_rows(p, plan.largest(p.name, 0)) for p in ports if p.name in inputs]
    count, most = int(max(counts.values())), int(min(limits))
    if count > most and len(set(counts.values())) != 1:
        told = ", ".join(f"{name} has {rows:g}" for name, rows in counts.items())
        raise BackendError(f"{plan.path}: cannot bind its buffers (of one number of rows, {told})")
    for start in range(0, count, most):
        yield Batch(start, min(start + most, count), count)


def _ports(signature: Signature) -> list[Port]:
    """Those with rows that are treated alone."""
    every = (*signature.inputs, *signature.outputs)
    return [port for port in every if port.shape and port.shape[0] in _BATCHES]


def _rows(port: Port, size: int) -> float:
    """How many rows, in the symbol's own unit, a first axis of ``size`` has."""
    return size / 2 if port.shape[0] == "2P" else size
