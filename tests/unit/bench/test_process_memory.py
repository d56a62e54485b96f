"""Peak memory of this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


ALLOCATING = """
from janus_edge.bench.process_memory import peak, reset_peak
if not reset_peak():
    raise SystemExit("cannot reset")
before = peak()
bytearray(b"x") * (256 << 20)
high = peak()
reset_peak()
print(before, high, peak())
"""


def test_reset(tmp_path: Path) -> None:
    """Memory that was given back before is not counted; in a small process of its own, so that pages
    that the system takes from a large one meanwhile do not hide what is allocated."""
    assert not reset_peak(tmp_path / "missing")
    done = subprocess.run([sys.executable, "-c", ALLOCATING], capture_output=True, text=True)
    if "cannot reset" in done.stderr:
        pytest.skip("this system cannot reset the peak")
    before, high, after = (int(word) for word in done.stdout.split())
    assert high - before > 160 << 20
    assert high - after > 160 << 20


def test_device() -> None:
    """A backend tells by having the method; none on the CPU has."""

    class Device(FakeBackend):
        def device_memory_peak(self) -> int:
            return 5

    assert isinstance(Device(), ReportsDeviceMemory)
    assert not isinstance(FakeBackend(), ReportsDeviceMemory)
