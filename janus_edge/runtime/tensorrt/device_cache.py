"""Keys or values of the KV cache on the GPU, where each run updates them in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from janus_edge.runtime.cuda.device import Device
from janus_edge.runtime.session import Array
from janus_edge.runtime.tensorrt.execution import Place
from janus_edge.runtime.tensorrt.formats import Format


class DeviceCache:
    """Keys or values of one layer, [B, heads, C, D], with the engine's capacity C.

    It starts zeroed: positions past a row's length are masked, but 0 x NaN is NaN.
    """

    def __init__(self, device: Device, shape: Sequence[int], form: Format) -> None:
        self.device, self._format = device, form
        nbytes = int(np.prod(shape)) * form.stored.itemsize
        self.place = Place(device.allocate(nbytes, "the KV cache"), tuple(shape))
        device.stream.zero(self.place.address, nbytes)

    @property
    def _row_bytes(self) -> int:
        return self.place.buffer.nbytes // self.place.shape[0]

    def take(self, rows: Sequence[int]) -> DeviceCache:
        """A new one whose row i is this one's row ``rows[i]``."""
        self.device.make_current()
        _, *rest = self.place.shape
        copy, size = DeviceCache(self.device, (len(rows), *rest), self._format), self._row_bytes
        for target, source in enumerate(rows):
            self.device.stream.copy(
                copy.place.address + target * size, self.place.address + source * size, size
            )
        return copy

    def upload(self, array: Array, length: int) -> None:
        """Take the first ``length`` positions of every row of an array [B, heads, C', D]."""
        stored = self._format.encode(array[:, :, :length])
        for address, block in zip(
            self._heads(), stored.reshape(-1, *stored.shape[2:]), strict=True
        ):
            self.device.stream.upload(address, block)
        self.device.stream.synchronize()  # `stored` ends here

    def download(self, array: Array) -> None:
        """Fill an array [B, heads, C', D] with the first C' positions."""
        stored = np.empty(array.shape, self._format.stored)
        for address, block in zip(
            self._heads(), stored.reshape(-1, *stored.shape[2:]), strict=True
        ):
            self.device.stream.download(block, address)
        self.device.stream.synchronize()
        array[...] = self._format.decode(stored)

    def _heads(self) -> range:
        """The address of each row's each head."""
        rows, heads, _, _ = self.place.shape
        size, start = self._row_bytes // heads, self.place.address
        return range(start, start + rows * heads * size, size)
