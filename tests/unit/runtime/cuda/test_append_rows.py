"""The kernel that appends rows to the cache: its actual text, run for every thread."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.errors import BackendError
from janus_edge.runtime.cuda.append_rows import Append, RowAppender, ptx
from janus_edge.runtime.cuda.device import Device, DeviceBuffer
from janus_edge.runtime.cuda.kernel import Kernel
from tests.unit.runtime.cuda.fake_driver import FakeDriver

HEADS, CAPACITY = 3, 11


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


def uploaded(device: Device, array: np.ndarray) -> DeviceBuffer:
    buffer = device.allocate(array.nbytes, "a test")
    device.stream.upload(buffer.address, array)
    return buffer


def read(device: Device, buffer: DeviceBuffer, like: np.ndarray) -> np.ndarray:
    found = np.empty_like(like)
    device.stream.download(found, buffer.address)
    device.stream.synchronize()
    return found


class Case:
    """Arrays of a launch, also on the device."""

    def __init__(
        self, device: Device, dtype: Any, size: int, lengths: list[int], new: int, tensors: int = 4
    ) -> None:
        rng, rows = np.random.default_rng(size), len(lengths)
        bits = np.dtype(dtype).itemsize * 8
        self.device, self.lengths, self.new = device, np.array(lengths), new

        def draw(length: int) -> np.ndarray:  # any bits, including those of a NaN
            shape = (rows, HEADS, length, size)
            return rng.integers(0, 1 << bits, shape, dtype)

        self.sources = [draw(new) for _ in range(tensors)]
        self.targets = [draw(CAPACITY) for _ in range(tensors)]
        self.on_device = [uploaded(device, a) for a in (*self.sources, *self.targets)]
        self.place = uploaded(device, self.lengths)
        appender = RowAppender(device, size * np.dtype(dtype).itemsize)
        self.append: Append = appender.bound(
            self.on_device[:tensors], self.on_device[tensors:], self.place,
            rows=rows, heads=HEADS, new=new, capacity=CAPACITY,
        )  # fmt: skip

    def found(self) -> list[np.ndarray]:
        buffers = self.on_device[len(self.sources) :]
        return [read(self.device, b, t) for b, t in zip(buffers, self.targets, strict=True)]

    def expected(self) -> list[np.ndarray]:
        made = [target.copy() for target in self.targets]
        for source, target in zip(self.sources, made, strict=True):
            for row, length in enumerate(self.lengths.tolist()):
                for step in range(self.new):
                    if 0 <= length + step < CAPACITY:
                        target[row, :, length + step] = source[row, :, step]
        return made


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("size", [1, 3, 4, 6, 80])
@pytest.mark.parametrize(
    ("lengths", "new"), [([0], 1), ([10], 1), ([2, 7, 0], 1), ([2, 7, 0], 4), ([0, 0], 11)]
)
def test_rows_are_appended(
    driver: FakeDriver, dtype: Any, size: int, lengths: list[int], new: int
) -> None:
    """One launch appends the rows of all tensors bit for bit, at each row's own length, and changes nothing
    else. Cases: 16 and 32 bits, heads of any size, single tokens, windows, a full cache."""
    with Device(driver) as device:
        case = Case(device, dtype, size, lengths, new)
        case.append()
        for found, expected in zip(case.found(), case.expected(), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert driver.calls["cuLaunchKernel"] == 1


def test_many_blocks(driver: FakeDriver) -> None:
    """Several layers are appended with more units than a block has threads, and not a multiple of them."""
    with Device(driver) as device:
        case = Case(device, np.uint16, 77, [4, 0], 5, tensors=6)
        case.append()
        for found, expected in zip(case.found(), case.expected(), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("lengths", [[9, 3], [11, 0], [-2, 5], [2**40, 1], [-(2**40), 1]])
def test_positions_outside_are_left_out(driver: FakeDriver, lengths: list[int]) -> None:
    """A row before the start or beyond the end touches no other memory; the rest is written."""
    with Device(driver) as device:
        case = Case(device, np.uint32, 4, lengths, 4)
        case.append()
        for found, expected in zip(case.found(), case.expected(), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert driver.lost == 0


def test_lengths_are_read_when_it_runs(driver: FakeDriver) -> None:
    """A captured launch reads the current lengths at each replay."""
    with Device(driver) as device:
        case = Case(device, np.uint16, 6, [1, 5], 1)
        case.append()
        device.stream.synchronize()
        before = driver.calls.copy()
        graph = device.stream.capture(case.append)
        assert (driver.calls - before).keys() == {
            "cuStreamBeginCapture_v2", "cuLaunchKernel", "cuStreamEndCapture",
            "cuGraphInstantiateWithFlags", "cuGraphDestroy",
        }  # fmt: skip
        for lengths in ([1, 5], [3, 0], [10, 7]):
            case.targets = case.expected()
            case.lengths[:] = lengths
            device.stream.upload(case.place.address, case.lengths)
            graph.launch()
            for found, expected in zip(case.found(), case.expected(), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_memory_is_kept(driver: FakeDriver) -> None:
    """A launch keeps alive what it reads and writes; afterwards everything is freed."""
    device = Device(driver)
    case = Case(device, np.uint16, 4, [0], 1)
    append, held = case.append, len(driver.memory)
    del case
    device.collect()
    assert len(driver.memory) == held
    append()
    device.stream.synchronize()
    del append
    device.collect()
    assert (driver.live(), driver.modules) == ({"streams": 1, "contexts": 1}, {})
    device.close()
    assert driver.live() == {}


@pytest.mark.parametrize("row_bytes", [0, 1, 5])
def test_rows_of_odd_bytes(driver: FakeDriver, row_bytes: int) -> None:
    with Device(driver) as device, pytest.raises(ValueError, match="not a whole number of 16-bit"):
        RowAppender(device, row_bytes)


@pytest.mark.parametrize(
    ("function", "code", "message"),
    [
        ("cuModuleLoadData", 221, "compiling the kernel append_rows: .* 221, .*ptxjitcompiler"),
        ("cuModuleLoadData", 222, "compiling the kernel append_rows: .* 222, .*update it"),
        ("cuModuleGetFunction", 500, "compiling the kernel append_rows: cuModuleGetFunction"),
        ("cuLaunchKernel", 701, "queuing the kernel append_rows: cuLaunchKernel answered .* 701"),
    ],
)
def test_what_may_fail(driver: FakeDriver, function: str, code: int, message: str) -> None:
    """A failed call is a BackendError that says what was being done, and nothing is left behind."""
    device = Device(driver)
    driver.fail(function, code)
    with pytest.raises(BackendError, match=message):
        Case(device, np.uint16, 4, [0], 1).append()
    device.close()
    assert driver.live() == {}


def test_a_gpu_that_is_too_old() -> None:
    """The text needs Turing or later."""
    driver = FakeDriver(capability=(7, 0))
    with Device(driver) as device, pytest.raises(BackendError, match="CUDA error 209"):
        RowAppender(device, 4)


def test_an_unknown_instruction(driver: FakeDriver) -> None:
    """An instruction that the interpreter does not support is an error; it is not skipped."""
    text = ptx(4).replace("mad.lo.u32 ", "sad.u32 ")
    with Device(driver) as device:
        kernel = Kernel(device, text, "append_rows")
        numbers = [ctypes.c_uint64(0)] * 2 + [ctypes.c_uint32(1)] * 5
        kernel.launch((1, 1, 1), (1, 1, 1), numbers)
        with pytest.raises(Exception, match=r"unknown instruction sad\.u32"):
            device.stream.synchronize()
        device.driver.call("cuStreamSynchronize", device.stream.handle, doing="waiting")


@pytest.mark.parametrize("unit", [4, 2])
@pytest.mark.parametrize("architecture", ["sm_75", "sm_87", "sm_89", "sm_120"])
def test_it_assembles(tmp_path: Path, unit: int, architecture: str) -> None:
    """NVIDIA's assembler accepts the text for Turing, Orin, Ada and Blackwell."""
    if shutil.which("ptxas") is None:
        pytest.skip("ptxas is not on PATH (the package nvidia-cuda-nvcc-cu12 has it)")
    (tmp_path / "k.ptx").write_text(ptx(unit))
    command = ["ptxas", f"-arch={architecture}", "k.ptx", "-o", "k.cubin"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "k.cubin").stat().st_size
