"""The CUDA driver itself, where there is one."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from janus_edge.cuda_driver import why_no_gpu
from janus_edge.errors import BackendError
from janus_edge.runtime.cuda.device import Device
from tests.unit.runtime.cuda.test_append_rows import Case

NO_GPU = why_no_gpu()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(NO_GPU is not None, reason=f"no GPU: {NO_GPU}"),
]


def copy_and_replay(device: Device, size: int) -> None:
    """Two buffers of ``size`` bytes, of which the second is filled by a captured copy."""
    a, b = device.allocate(size, "a test"), device.allocate(size, "a test")
    noise, found = device.pinned((1000,), np.float32), np.zeros(1000, np.float32)
    device.stream.zero(b.address, size)
    graph = device.stream.capture(lambda: device.stream.copy(b.address, a.address, 4000))
    for seed in range(3):
        noise[:] = np.random.default_rng(seed).normal(size=1000)
        device.stream.upload(a.address, noise)
        event = device.stream.event()
        event.record()
        graph.launch()
        device.stream.download(found, b.address)
        event.synchronize()
        device.stream.synchronize()
        np.testing.assert_array_equal(found, noise)


def test_copies_and_captures() -> None:
    """What is uploaded comes back, and memory is freed; too much of it is refused."""
    with Device() as device:
        free, _ = device.memory()
        copy_and_replay(device, 256 << 20)
        gc.collect()
        device.collect()
        assert device.memory()[0] > free - (256 << 20)
        with pytest.raises(BackendError, match="MiB for far too much .*free memory"):
            device.allocate(1 << 50, "far too much")


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("size", [3, 128])
def test_the_kernel_that_appends_rows(dtype: type[np.unsignedinteger], size: int) -> None:
    """The driver compiles it, and it does what its interpreted text does, also when captured. Rows beyond
    the end are left out."""
    with Device() as device:
        case = Case(device, dtype, size, [2, 9, 0, -1], 4, tensors=6)
        case.append()
        for found, expected in zip(case.found(), case.expected(), strict=True):
            np.testing.assert_array_equal(found, expected)
        graph = device.stream.capture(case.append)
        case.targets = case.expected()
        case.lengths[:] = [5, 1, 7, 0]
        device.stream.upload(case.place.address, case.lengths)
        graph.launch()
        for found, expected in zip(case.found(), case.expected(), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_waiting_in_a_capture() -> None:
    """The driver refuses it, the error says so, and the stream goes on."""
    with Device() as device:
        with pytest.raises(BackendError, match="--no-cuda-graph"):
            device.stream.capture(device.stream.synchronize)
        device.stream.synchronize()
