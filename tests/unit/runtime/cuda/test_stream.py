"""The stream: in order, when its turn comes, and captured."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest

from janus_edge.errors import BackendError, InputError
from janus_edge.runtime.cuda.device import Device
from tests.unit.runtime.cuda.fake_driver import FakeDriver


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def device(driver: FakeDriver) -> Iterator[Device]:
    with Device(driver) as opened:
        yield opened


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_order(device: Device) -> None:
    """Copies, fills and copies back take effect in order."""
    a, b = device.allocate(12, "a"), device.allocate(12, "b")
    device.stream.upload(a.address, floats(1, 2, 3))
    device.stream.copy(b.address, a.address, 12)
    device.stream.zero(a.address, 4)
    first, second = floats(9, 9, 9), floats(9, 9, 9)
    device.stream.download(first, a.address)
    device.stream.download(second, b.address)
    assert first.tolist() == [9, 9, 9]
    device.stream.synchronize()
    assert (first.tolist(), second.tolist()) == ([0, 2, 3], [1, 2, 3])


def test_events(device: Device) -> None:
    """Waiting for an event waits for what was queued before it, and for nothing behind."""
    buffer, event = device.allocate(4, "a"), device.stream.event()
    event.synchronize()
    before, behind = floats(9), floats(9)
    device.stream.upload(buffer.address, floats(1))
    device.stream.download(before, buffer.address)
    event.record()
    device.stream.download(behind, buffer.address)
    event.synchronize()
    assert (before[0], behind[0]) == (1, 9)
    event.synchronize()


def test_nothing_to_copy(device: Device, driver: FakeDriver) -> None:
    """Empty arrays are no call: the driver refuses them."""
    buffer = device.allocate(4, "a")
    device.stream.upload(buffer.address, np.zeros(0, np.float32))
    device.stream.download(np.zeros((0, 3), np.float32), buffer.address)
    assert driver.calls["cuMemcpyHtoDAsync_v2"] == driver.calls["cuMemcpyDtoHAsync_v2"] == 0


def test_capture_and_replay(device: Device, driver: FakeDriver) -> None:
    """Captured work is not done, and done at every launch, on what the memory holds then."""
    a, b = device.allocate(4, "a"), device.allocate(4, "b")
    device.stream.zero(b.address, 4)
    graph = device.stream.capture(lambda: device.stream.copy(b.address, a.address, 4))
    result = floats(9)
    device.stream.download(result, b.address)
    device.stream.synchronize()
    assert result[0] == 0
    for value in (3, 4):
        device.stream.upload(a.address, floats(value))
        graph.launch()
        device.stream.download(result, b.address)
        device.stream.synchronize()
        assert result[0] == value
    assert driver.live()["executables"] == 1
    assert "graphs" not in driver.live()
    del graph
    gc.collect()
    device.collect()
    assert "executables" not in driver.live()


@pytest.mark.parametrize(
    "function",
    ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuMemsetD8Async"],
)  # fmt: skip
def test_a_capture_that_fails(device: Device, driver: FakeDriver, function: str) -> None:
    """It is an error that names the way without; the stream goes on, and nothing is left."""
    buffer = device.allocate(4, "a")
    driver.fail(function, 901)
    with pytest.raises(
        BackendError, match=rf"cannot be captured .*{function} .*error 901.*--no-cuda-graph"
    ):
        device.stream.capture(lambda: device.stream.zero(buffer.address, 4))
    assert not driver.capturing(device.stream.handle)
    result = floats(9)
    device.stream.upload(buffer.address, floats(5))
    device.stream.download(result, buffer.address)
    device.stream.synchronize()
    assert result[0] == 5
    device.stream.capture(lambda: device.stream.zero(buffer.address, 4)).launch()
    device.stream.synchronize()
    assert "graphs" not in driver.live()


def test_what_a_capture_forbids(device: Device, driver: FakeDriver) -> None:
    """Waiting and allocating while capturing spoil the capture, and are told."""
    for work in (device.stream.synchronize, lambda: device.allocate(4, "a")):
        with pytest.raises(BackendError, match="error 900, .*--no-cuda-graph"):
            device.stream.capture(work)
    device.stream.synchronize()


def test_an_error_of_the_work_itself(device: Device, driver: FakeDriver) -> None:
    """It comes through as it is, and the capture is ended."""

    def work() -> None:
        raise InputError("of the work")

    with pytest.raises(InputError, match="^of the work$"):
        device.stream.capture(work)
    assert not driver.capturing(device.stream.handle)
    assert "graphs" not in driver.live()


def test_an_error_that_lasts(device: Device, driver: FakeDriver) -> None:
    """There is no way without a CUDA graph then."""
    driver.fail("cuStreamBeginCapture_v2", 719)
    with pytest.raises(BackendError, match="end it and start again") as failure:
        device.stream.capture(lambda: None)
    assert "--no-cuda-graph" not in str(failure.value)


def test_memory_whose_end_falls_into_a_capture(device: Device, driver: FakeDriver) -> None:
    """Freeing would spoil the capture: it waits until the next allocation."""
    buffer = device.allocate(4, "a")
    held = [device.allocate(4, "b")]

    def work() -> None:
        device.stream.zero(buffer.address, 4)
        held.clear()
        gc.collect()
        device.collect()

    device.stream.capture(work).launch()
    assert driver.live()["memory"] == 2
    device.allocate(4, "c")
    gc.collect()
    assert driver.live()["memory"] == 2
