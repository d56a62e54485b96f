"""Keys or values of the KV cache on the GPU; each run updates them in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from janus_edge.runtime.cuda.device import Device
from janus_edge.runtime.session import Array
from janus_edge.runtime.tensorrt.execution import Place
from janus_edge.runtime.tensorrt.formats import Format


class DeviceCache:
    """Keys or values of one layer, [B, heads, C, D], with the plan's capacity C.

    There are at least ``least_rows`` rows, the plan's minimum; rows beyond a request's are
    padding. It starts zeroed: positions past a row's length are masked, but 0 x NaN is NaN.
    """

    def __init__(
        self, device: Device, shape: Sequence[int], form: Format, least_rows: int = 1
    ) -> None:
        self.device, self._format, self._least_rows = device, form, least_rows
        rows, *rest = shape
        held = (max(rows, least_rows), *rest)
        nbytes = int(np.prod(held)) * form.stored.itemsize
        self.place = Place(device.allocate(nbytes, "the KV cache"), held)
        device.stream.zero(self.place.address, nbytes)

    @property
    def capacity(self) -> int:
        """C."""
        return self.place.shape[2]

    @property
    def _row_bytes(self) -> int:
        return self.place.buffer.nbytes // self.place.shape[0]

    def take(self, rows: Sequence[int]) -> DeviceCache:
        """A new one whose row i is this one's row ``rows[i]``."""
        self.device.make_current()
        _, *rest = self.place.shape
        shape, size = (len(rows), *rest), self._row_bytes
        copy = DeviceCache(self.device, shape, self._format, self._least_rows)
        for target, source in enumerate(rows):
            self.device.stream.copy(
                copy.place.address + target * size, self.place.address + source * size, size
            )
        return copy

    def adopt(self, other: DeviceCache, length: int) -> None:
        """Copy the first ``length`` positions of a cache of another capacity and the same rows."""
        size = length * self.place.shape[3] * self._format.stored.itemsize
        rows = self.place.shape[0]
        for target, source in zip(self._heads(rows), other._heads(rows), strict=True):
            self.device.stream.copy(target, source, size)

    def upload(self, array: Array, length: int) -> None:
        """Take the first ``length`` positions of every row of an array [B, heads, C', D]."""
        stored = self._format.encode(array[:, :, :length])
        for address, block in zip(
            self._heads(len(stored)), stored.reshape(-1, *stored.shape[2:]), strict=True
        ):
            self.device.stream.upload(address, block)
        self.device.stream.synchronize()  # `stored` ends here

    def download(self, array: Array) -> None:
        """Fill an array [B, heads, C', D] with the first C' positions."""
        stored = np.empty(array.shape, self._format.stored)
        for address, block in zip(
            self._heads(len(stored)), stored.reshape(-1, *stored.shape[2:]), strict=True
        ):
            self.device.stream.download(block, address)
        self.device.stream.synchronize()
        array[...] = self._format.decode(stored)

    def _heads(self, rows: int) -> range:
        """The address of each head of the first ``rows``."""
        heads = self.place.shape[1]
        size, start = self._row_bytes // heads, self.place.address
        return range(start, start + rows * heads * size, size)
