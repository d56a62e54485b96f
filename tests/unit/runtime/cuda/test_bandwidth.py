"""The speed of a GPU's memory, from copies on it, and what was taken of it at most."""

from __future__ import annotations

import gc
import itertools

import pytest

from janus_edge.runtime.cuda.bandwidth import copy_bandwidth
from janus_edge.runtime.cuda.device import Device
from tests.unit.runtime.cuda.fake_driver import FakeDriver


def test_bytes_read_and_written() -> None:
    """Ten copies of 1000 bytes within the fastest round's half second: 2 * 10 * 1000 / 0.5."""
    times = itertools.accumulate([0.0, 2.0, 1.0, 0.5, 1.0, 4.0])
    driver = FakeDriver()
    with Device(driver) as device:
        assert copy_bandwidth(device, 1000, lambda: next(times)) == 40_000
    assert driver.calls["cuMemcpyDtoDAsync_v2"] == 31
    assert driver.live() == {}


def test_little_memory() -> None:
    """A quarter of what is free is enough, so that measuring never fails for want of memory."""
    with Device(FakeDriver(total=64 << 20)) as device:
        held = device.allocate(60 << 20, "a test")
        assert copy_bandwidth(device) > 0
        assert held.nbytes == 60 << 20


def test_peak() -> None:
    """The most that was taken at once, which later allocations do not lower."""
    with Device(FakeDriver(total=1 << 20)) as device:
        before = device.peak
        held = device.allocate(300_000, "a test")
        del held
        gc.collect()
        small = device.allocate(1000, "a test")
        assert device.peak - before == pytest.approx(300_000, abs=1024)
        assert small.nbytes == 1000
