"""The probe of memory's bandwidth, on a clock that says how long a pass took."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from janus_edge.bench import bandwidth
from janus_edge.bench.bandwidth import Bandwidth, MeasuresBandwidth, buffer_size, measure_bandwidth
from tests.unit.bench.reports import MACHINE
from tests.unit.runtime.fakes import FakeBackend


def test_the_fastest_pass_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes over the shortest time; its loop is named."""
    looks = iter([0.0, 4.0, 10.0, 12.0, 20.0, 20.5, 30.0, 33.0])
    monkeypatch.setattr(bandwidth, "_loops", lambda: {"one": np.max, "two": np.max})
    found = measure_bandwidth(2, 1000, passes=2, clock=lambda: next(looks))
    assert found == Bandwidth(2000.0, "one", 2, 1000, 4)


def test_every_byte_is_read_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of the threads are the whole buffer, and no page of it is the system's zero page."""
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        bandwidth, "_loops", lambda: {"look": lambda a: seen.append((a.size, int(a.min())))}
    )
    told: list[tuple[int, int]] = []
    measure_bandwidth(3, 1000, passes=2, progress=lambda *done: told.append(done))
    assert sorted(seen) == [(333, 1)] * 4 + [(334, 1)] * 2
    assert told == [(1, 2), (2, 2)]


def test_the_loops_read_to_the_end() -> None:
    """A byte that they look for is found at the very end, so they got there."""
    loops = bandwidth._loops()
    buffer = np.ones(4097, np.uint8)
    assert loops["numpy maximum"](buffer) == 1
    assert not loops["memchr"](buffer)
    buffer[-1] = 7
    assert loops["numpy maximum"](buffer) == 7
    assert loops["memchr"](buffer) == buffer.ctypes.data + 4096


def test_size_of_the_buffer() -> None:
    """Much larger than the last cache, and never much of the memory."""
    assert buffer_size(MACHINE) == 256 << 20
    assert buffer_size(replace(MACHINE, cache_bytes=64 << 20)) == 512 << 20
    assert buffer_size(replace(MACHINE, memory_bytes=1 << 30)) == 128 << 20
    assert buffer_size(replace(MACHINE, memory_bytes=0, cache_bytes=0)) == 256 << 20
    assert buffer_size(replace(MACHINE, memory_bytes=1 << 40, cache_bytes=1 << 30)) == 2 << 30


def test_no_bandwidth_of_nothing() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Bandwidth(0.0, "memchr", 2, 1, 1)


def test_of_a_device() -> None:
    """A backend tells by having the method; then no loop of ours was run."""
    assert Bandwidth.of_device(1e12).passes == 0
    assert not isinstance(FakeBackend(), MeasuresBandwidth)
