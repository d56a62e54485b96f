"""Asking for a GPU: every answer of the driver's library, and none of them ends the process."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from janus_edge.cuda_driver import Gpu, first_gpu, first_gpu_bus_id, why_no_gpu
from janus_edge.errors import BackendError
from tests.unit.runtime.cuda.fake_driver import FakeDriver


def driver(
    *, init: int = 0, count: int = 1, integrated: int = 0, **results: int
) -> SimpleNamespace:
    """A library whose functions return ``results``, by name, or success."""

    def answer(name: str, number: int) -> Any:
        def call(pointer: Any, *_: int) -> int:
            pointer._obj.value = number
            return results.get(name, 0)

        return call

    def name(buffer: Any, _size: int, _device: int) -> int:
        buffer.value = b"Orin"
        return results.get("cuDeviceGetName", 0)

    def attribute(pointer: Any, which: int, _device: int) -> int:
        pointer._obj.value = {75: 8, 76: 7, 18: integrated}[which]
        return results.get("cuDeviceGetAttribute", 0)

    return SimpleNamespace(
        cuInit=lambda _flags: init,
        cuDeviceGetCount=answer("cuDeviceGetCount", count),
        cuDeviceGet=answer("cuDeviceGet", 0),
        cuDeviceGetName=name,
        cuDeviceGetAttribute=attribute,
        cuDriverGetVersion=answer("cuDriverGetVersion", 12060),
    )


@pytest.mark.parametrize(
    ("init", "count", "expected"),
    [
        (0, 1, None),
        (0, 0, "the driver sees no GPU; check `nvidia-smi`"),
        (100, 0, "error 100: the driver sees no GPU"),
        (804, 0, "error 804: the driver is too old"),
        (3, 0, "error 3: see its code"),
    ],
)
def test_answers(
    monkeypatch: pytest.MonkeyPatch, init: int, count: int, expected: str | None
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: driver(init=init, count=count))
    answer = why_no_gpu()
    assert answer is None if expected is None else expected in str(answer)


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    reason = "there is no NVIDIA driver (libcuda.so.1 was not found); install it"
    assert why_no_gpu() == reason
    with pytest.raises(BackendError) as caught:
        first_gpu()
    assert str(caught.value) == f"no GPU can be used: {reason}"


def test_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first GPU has a name, a compute capability, the driver's CUDA, and memory of its own or not."""
    for integrated in (0, 1):
        library = driver(integrated=integrated)
        monkeypatch.setattr(ctypes, "CDLL", lambda _name, found=library: found)
        assert first_gpu() == Gpu("Orin", "8.7", "12.6", bool(integrated))


@pytest.mark.parametrize(
    "function", ["cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute", "cuDriverGetVersion"]
)
def test_a_driver_that_fails(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Any of its functions may."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: driver(**{function: 999}))
    with pytest.raises(BackendError, match="error 999: the driver failed; check `nvidia-smi`"):
        first_gpu()


def test_bus_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first GPU's PCI address, by which other libraries find it, is returned, or the reason why not."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: FakeDriver())
    assert first_gpu_bus_id() == "0000:01:00.0"
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: FakeDriver(count=0))
    with pytest.raises(BackendError, match="the driver sees no GPU"):
        first_gpu_bus_id()
