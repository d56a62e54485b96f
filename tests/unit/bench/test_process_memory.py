"""Peak memory of this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.bench.process_memory import ReportsDeviceMemory, peak, reset_peak
from tests.unit.runtime.fakes import FakeBackend


def test_from_the_status_file(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmPeak:\t  999 kB\nVmHWM:\t  1234 kB\n")
    assert peak(tmp_path) == 1234 * 1024


def test_without_the_status_file(tmp_path: Path) -> None:
    """The system's own count, in the same unit."""
    told, own = peak(tmp_path), peak()
    assert told is not None
    assert own is not None
    assert 0.5 < told / own < 2


def test_reset(tmp_path: Path) -> None:
    """Memory that was given back before is not counted."""
    assert not reset_peak(tmp_path / "missing")
    if not reset_peak():
        pytest.skip("this system cannot reset the peak")
    before = peak()
    np.ones(64 << 20, np.uint8)
    high = peak()
    assert before is not None
    assert high is not None
    assert high - before > 48 << 20
    assert reset_peak()
    after = peak()
    assert after is not None
    assert high - after > 32 << 20


def test_device() -> None:
    """A backend tells by having the method; none on the CPU has."""

    class Device(FakeBackend):
        def device_memory_peak(self) -> int:
            return 5

    assert isinstance(Device(), ReportsDeviceMemory)
    assert not isinstance(FakeBackend(), ReportsDeviceMemory)
