"""A GPU that is opened: what it says of a machine without one, and that it frees what it took."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

from janus_edge.errors import BackendError
from janus_edge.runtime.cuda.device import Device
from janus_edge.runtime.cuda.functions import FUNCTIONS, load_library
from tests.unit.runtime.cuda.fake_driver import FakeDriver


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


def use(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    """Let every library that is opened be this one, or raise it."""

    def opened(name: str) -> Any:
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr("ctypes.CDLL", opened)


def test_types_are_set(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver) -> None:
    """Every function that is called has the types of its arguments: an int would be 32 bits."""
    use(monkeypatch, driver)
    library = load_library()
    for name, types in FUNCTIONS.items():
        assert getattr(library, name).argtypes == types


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (OSError("absent"), r"runs on an NVIDIA GPU: .*libcuda\.so\.1 was not found"),
        (FakeDriver(count=0), "runs on an NVIDIA GPU: .*the driver sees no GPU"),
        (
            FakeDriver(lacking=frozenset({"cuGraphInstantiateWithFlags"})),
            "driver is too old: .* lacks cuGraphInstantiateWithFlags; update the driver",
        ),
    ],
)
def test_machines_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, library: Any, message: str
) -> None:
    """No driver, no GPU and an old driver each say so; nothing else is called."""
    use(monkeypatch, library)
    with pytest.raises(BackendError, match=message):
        Device()


OPENING = (
    "cuInit", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent", "cuStreamCreate",
)  # fmt: skip


@pytest.mark.parametrize("function", OPENING)
def test_opening_that_fails(driver: FakeDriver, function: str) -> None:
    """An error at any step of opening is told with its code, and leaves nothing open."""
    driver.fail(function, 999)
    with pytest.raises(BackendError, match=rf"{function} answered CUDA error 999, .*nvidia-smi"):
        Device(driver)
    assert driver.live() == {}
    with Device(driver) as device:
        assert (device.name, device.compute_capability) == ("Fake GPU", "8.9")


def test_memory_goes_with_its_holder(driver: FakeDriver) -> None:
    """Memory that nobody holds is freed before the next allocation, and not while work is queued
    that uses it; what is held is freed at the end."""
    with Device(driver) as device:
        buffer = device.allocate(1000, "a test")
        kept = device.allocate(8, "a test")
        assert buffer.address % 256 == 0
        device.stream.upload(buffer.address, np.arange(250, dtype=np.float32))
        result = np.zeros(250, np.float32)
        device.stream.download(result, buffer.address)
        del buffer
        gc.collect()
        assert driver.live()["memory"] == 2
        device.allocate(8, "a test")
        np.testing.assert_array_equal(result, np.arange(250))
        assert driver.live()["memory"] == 2
        assert device.memory() == (driver.total - 16, driver.total)
        del kept
    assert driver.live() == {}


def test_pinned_memory(driver: FakeDriver) -> None:
    """An array in pinned memory lives as long as any view of it."""
    with Device(driver) as device:
        array = device.pinned((3, 4), np.int64)
        assert (array.shape, array.dtype) == ((3, 4), np.int64)
        array[:] = 7
        view = array[1:, 2]
        del array
        gc.collect()
        device.collect()
        assert driver.live()["pinned"] == 1
        assert view.tolist() == [7, 7]
        del view
        gc.collect()
        device.collect()
        assert "pinned" not in driver.live()
        assert device.pinned((), np.float32).shape == ()
        assert device.pinned((0, 3), np.float32).size == 0


def test_out_of_memory(driver: FakeDriver) -> None:
    """The message tells what for, how much, how much there is, and what to do; the GPU stays
    usable."""
    with Device(driver) as device:
        device.allocate(1 << 20, "other things")
        with pytest.raises(
            BackendError,
            match=r"allocating 2,048.0 MiB for the KV cache \(1,02\d of 1,024 MiB are free\): .*"
            r"CUDA_ERROR_OUT_OF_MEMORY \(out of memory\); free memory .* smaller capacity",
        ):
            device.allocate(2 << 30, "the KV cache")
        device.allocate(1000, "less")
        driver.fail("cuMemAllocHost_v2", 2)
        with pytest.raises(BackendError, match="MiB of pinned memory: .*out of memory"):
            device.pinned((5,), np.float32)
    assert driver.live() == {}


def test_errors_that_last(driver: FakeDriver) -> None:
    """Behind an illegal address every call says so at once, without calling the driver; closing
    does nothing, for nothing could be freed."""
    device = Device(driver)
    buffer = device.allocate(100, "a test")
    device.stream.copy(buffer.address + 1000, buffer.address, 50)
    message = r"CUDA_ERROR_ILLEGAL_ADDRESS .*cannot be used any more by this process: end it"
    with pytest.raises(BackendError, match=f"waiting for the GPU: .*{message}"):
        device.stream.synchronize()
    calls = driver.calls.total()
    for call in (device.make_current, device.memory, lambda: device.allocate(1, "a test")):
        with pytest.raises(BackendError, match=message):
            call()
    device.close()
    assert driver.calls.total() == calls


def test_errors_nobody_knows(driver: FakeDriver) -> None:
    """A code without a name is told as a number."""
    with Device(driver) as device:
        driver.fail("cuMemGetInfo_v2", 4711)
        with pytest.raises(BackendError, match=r"asking for memory: .* error 4711, unknown"):
            device.memory()


def test_closing_twice(driver: FakeDriver) -> None:
    """The second does nothing; whoever uses a closed GPU is told."""
    device = Device(driver)
    buffer = device.allocate(100, "a test")
    device.close()
    device.close()
    assert driver.calls["cuDevicePrimaryCtxRelease_v2"] == 1
    with pytest.raises(BackendError, match="the GPU was closed"):
        device.make_current()
    del buffer
    gc.collect()
    assert driver.calls["cuMemFree_v2"] == 1


def test_closing_that_fails(driver: FakeDriver) -> None:
    """An error while closing is told once everything else is freed."""
    device = Device(driver)
    buffers = [device.allocate(100, "a test") for _ in range(3)]
    driver.fail("cuMemFree_v2", 999)
    with pytest.raises(BackendError, match="closing the GPU: cuMemFree_v2 answered"):
        device.close()
    assert driver.live() == {"memory": 1}
    assert len(buffers) == 3


def test_other_threads(driver: FakeDriver) -> None:
    """A thread that makes the GPU its own can use it; one that does not cannot."""
    with Device(driver) as device:
        failures: list[BackendError] = []

        def allocate(first: bool) -> None:
            try:
                if first:
                    device.make_current()
                device.allocate(100, "a test")
            except BackendError as failure:
                failures.append(failure)

        for first in (False, True):
            thread = threading.Thread(target=allocate, args=(first,))
            thread.start()
            thread.join()
        assert len(failures) == 1
        assert "CUDA error 201" in str(failures[0])
