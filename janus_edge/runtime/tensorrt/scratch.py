"""One piece of scratch memory for all contexts: they run one after the other on one stream."""

from __future__ import annotations

from janus_edge.runtime.cuda.device import Device, DeviceBuffer


class Scratch:
    """As large as the most demanding engine that was opened needs; ``generation`` counts its moves.

    A context must be given the memory again, and captured work is void, when it has moved.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffer: DeviceBuffer | None = None
        self.generation = 0

    def reserve(self, nbytes: int) -> DeviceBuffer:
        """Memory of at least ``nbytes``; raises BackendError where there is none."""
        if self._buffer is None or self._buffer.nbytes < nbytes:
            self._buffer = None  # the old one is freed first: memory need not hold both
            self.generation += 1
            self._buffer = self._device.allocate(nbytes, "the scratch space of TensorRT")
        return self._buffer
