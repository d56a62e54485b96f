"""How fast this machine reads memory: the limit of a decoding step.

A buffer several times as large as the last cache is read from beginning to end, each thread its own
part, by loops that do nothing but read: libc's ``memchr`` for a byte that is not there, and numpy's
maximum of bytes. Both let go of Python's lock. The fastest of all passes counts: whatever else the
machine does can only make one slower.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from janus_edge.bench.machine import Machine

_LEAST, _MOST = 256 << 20, 2 << 30

Loop = Callable[[NDArray[Any]], object]


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """``bytes_per_second`` read by ``threads`` together; ``method`` is the loop that was fastest.

    Where the device itself tells, the other numbers are 0.
    """

    bytes_per_second: float
    method: str
    threads: int
    buffer_bytes: int
    passes: int

    def __post_init__(self) -> None:
        if self.bytes_per_second <= 0 or min(self.threads, self.buffer_bytes, self.passes) < 0:
            raise ValueError("a bandwidth must be above 0, its threads and buffer not below")

    @classmethod
    def of_device(cls, bytes_per_second: float) -> Bandwidth:
        """What a backend measured of its device's memory."""
        return cls(bytes_per_second, "a copy on the device", 0, 0, 0)


@runtime_checkable
class MeasuresBandwidth(Protocol):
    """A backend whose device has memory of its own, and can tell how fast it is read."""

    def read_bandwidth(self) -> float:
        """Bytes per second, measured by a copy on the device."""
        ...


def buffer_size(machine: Machine) -> int:
    """Bytes to read: eight times the last cache, at least 256 MiB, at most an eighth of memory."""
    wanted = min(max(8 * (machine.cache_bytes or 0), _LEAST), _MOST)
    return min(wanted, machine.memory_bytes // 8) if machine.memory_bytes else wanted


def measure_bandwidth(
    threads: int,
    size: int,
    *,
    passes: int = 12,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bandwidth:
    """Read ``size`` bytes with ``threads``, ``passes`` times with each loop; report the fastest.

    ``progress(done, total)`` counts passes.
    """
    # ones: pages of zeros that were never written would all be one page
    parts = np.array_split(np.ones(size, np.uint8), threads)
    loops = _loops()
    best, method, done = float("inf"), "", 0
    for _ in range(passes):
        for name, loop in loops.items():
            seconds = _one_pass(loop, parts, clock)
            done += 1
            progress(done, passes * len(loops))
            if seconds < best:
                best, method = seconds, name
    return Bandwidth(size / best, method, threads, size, done)


def _one_pass(loop: Loop, parts: list[NDArray[Any]], clock: Callable[[], float]) -> float:
    """Seconds from the common start until the last thread is through."""
    barrier = threading.Barrier(len(parts) + 1)

    def work(part: NDArray[Any]) -> None:
        barrier.wait()
        loop(part)

    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    begin = clock()  # before the barrier: on a busy machine a thread may be through before us
    barrier.wait()
    for thread in threads:
        thread.join()
    return clock() - begin


def _loops() -> dict[str, Loop]:
    loops: dict[str, Loop] = {"numpy maximum": np.max}
    if sys.platform != "win32":
        memchr = ctypes.CDLL(None).memchr
        memchr.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
        memchr.restype = ctypes.c_void_p
        loops["memchr"] = lambda part: memchr(part.ctypes.data, 7, part.nbytes)
    return loops
