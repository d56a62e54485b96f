"""MemAvailable counts on GPUs that share the host's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.errors import BackendError
from janus_edge.runtime.cuda.device import Device
from janus_edge.runtime.cuda.host_memory import available_memory
from tests.unit.runtime.cuda.fake_driver import FakeDriver


def test_mem_available(tmp_path: Path) -> None:
    """MemAvailable is read, in kB; MemFree, which leaves the page cache out, is not."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(
        "MemTotal:  7802880 kB\nMemFree:  100 kB\nMemAvailable:    4000000 kB\nCached: 1 kB\n"
    )
    assert available_memory(meminfo) == 4_000_000 << 10


@pytest.mark.parametrize("text", ["MemFree: 1 kB\n", "MemAvailable: lots\n", "", None])
def test_systems_that_do_not_say(tmp_path: Path, text: str | None) -> None:
    """A missing or unreadable value is not guessed."""
    meminfo = tmp_path / "meminfo"
    if text is not None:
        meminfo.write_text(text)
    assert available_memory(meminfo) is None


@pytest.mark.parametrize(
    ("integrated", "available", "free"),
    [
        (False, 300 << 20, 1 << 30), (True, 300 << 20, 300 << 20), (True, None, 1 << 30),
        (True, 1 << 40, 1 << 30),
    ],
)  # fmt: skip
def test_free_memory(
    monkeypatch: pytest.MonkeyPatch, integrated: bool, available: int | None, free: int
) -> None:
    """An integrated GPU has the memory that Linux can give, but no more than exists. Other GPUs, and systems
    without MemAvailable, have what the driver reports. Errors give the same number."""
    monkeypatch.setattr("janus_edge.runtime.cuda.device.available_memory", lambda: available)
    with Device(FakeDriver(integrated=integrated)) as device:
        assert device.integrated == integrated
        assert device.memory() == (free, 1 << 30)
        with pytest.raises(BackendError, match=rf"\({free >> 20:,} of 1,024 MiB are free\)"):
            device.allocate(2 << 30, "a test")


def test_the_peak_of_an_integrated_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page cache, which Linux gives up on demand, does not count as taken."""
    said = [800 << 20]
    monkeypatch.setattr("janus_edge.runtime.cuda.device.available_memory", lambda: said[0])
    with Device(FakeDriver(integrated=True)) as device:
        said[0] -= 5 << 20
        device.note_memory()
        assert device.peak == 5 << 20
