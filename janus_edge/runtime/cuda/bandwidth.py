"""How fast a GPU's memory is: copies from one buffer to another, read and written bytes together."""

from __future__ import annotations

import time
from collections.abc import Callable

from janus_edge.runtime.cuda.device import Device

#: Far more than any cache of a GPU (an H100's has 50 MB), so that copies go to memory.
_BYTES = 512 << 20

_COPIES = 10


def copy_bandwidth(
    device: Device, size: int = _BYTES, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Bytes per second that are read and written in copies of ``size`` bytes on the device.

    Less where memory is short: a quarter of what is free. The fastest of three rounds counts, since
    whatever else the GPU does can only make one slower. Raises BackendError.
    """
    size = max(min(size, device.memory()[0] // 4), 1)
    source, target = (device.allocate(size, "measuring the bandwidth") for _ in range(2))
    device.stream.zero(source.address, size)
    device.stream.copy(target.address, source.address, size)
    seconds = []
    for _ in range(3):
        device.stream.synchronize()
        begin = clock()
        for _ in range(_COPIES):
            device.stream.copy(target.address, source.address, size)
        device.stream.synchronize()
        seconds.append(clock() - begin)
    return 2 * size * _COPIES / min(seconds)
