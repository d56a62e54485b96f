"""Why a target cannot be tried on a machine, and when it can."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu_check import availability
from benchmarks.gpu_check.availability import find_device, why_not
from benchmarks.gpu_check.report import Device
from tests.unit.gpu_check.fakes import DEVICE
from tests.unit.runtime.cuda.fake_driver import FakeDriver


def no_driver(_name: str) -> Any:
    raise OSError("absent")


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's reason and fix; every target of a GPU has it, the processor's does not."""
    monkeypatch.setattr("ctypes.CDLL", no_driver)
    reason = find_device()
    assert isinstance(reason, str)
    assert "no NVIDIA driver" in reason
    assert {why_not(t, reason) for t in ("tensorrt", "tensorrt-rtx", "ort-cuda")} == {reason}
    assert why_not("ort-cpu", reason) is None


def test_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver tells, and of `nvidia-smi` what it tells of the GPU of that name."""
    monkeypatch.setattr("ctypes.CDLL", lambda _name: FakeDriver())
    gpu = find_device()
    assert isinstance(gpu, Device)
    lines = f"Other, 1.0, 5\n{gpu.name}, 580.159.04, 81559\n"
    monkeypatch.setattr(
        availability.subprocess, "run", lambda *_a, **_k: SimpleNamespace(stdout=lines)
    )
    told = find_device()
    assert isinstance(told, Device)
    assert (told.driver, told.memory_mib) == ("580.159.04", 81559)
    monkeypatch.setattr(availability.subprocess, "run", no_driver_run)
    assert find_device() == Device(gpu.name, gpu.compute_capability, gpu.cuda)


def no_driver_run(*_arguments: Any, **_named: Any) -> Any:
    raise FileNotFoundError("nvidia-smi")


def test_tensorrt_that_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for target, module in (("tensorrt", "tensorrt"), ("tensorrt-rtx", "tensorrt_rtx")):
        monkeypatch.setitem(sys.modules, module, None)
        found = why_not(target, DEVICE)
        assert found is not None
        assert "is not installed" in found


def test_tensorrt_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TensorRT without a cache in place is for the target that does without one."""
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.3.0"))
    assert "its target is tensorrt-10.3" in (why_not("tensorrt", DEVICE) or "")
    assert why_not("tensorrt-10.3", DEVICE) is None


def test_one_target_of_a_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer TensorRT is not tried with the older one's target, unless that is asked for."""
    has = SimpleNamespace(KV_CACHE_UPDATE=1)
    monkeypatch.setitem(
        sys.modules, "tensorrt", SimpleNamespace(__version__="10.16.1", LayerType=has)
    )
    assert why_not("tensorrt", DEVICE) is None
    assert "its target is tensorrt" in (why_not("tensorrt-10.3", DEVICE) or "")
    assert why_not("tensorrt-10.3", DEVICE, asked=True) is None


def test_onnxruntime_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CPUExecutionProvider"]
    ort = SimpleNamespace(__version__="1.31.1", get_available_providers=lambda: providers)
    monkeypatch.setitem(sys.modules, "onnxruntime", ort)
    assert "1.31.1 has no CUDAExecutionProvider" in (why_not("ort-cuda", DEVICE) or "")
    providers.append("CUDAExecutionProvider")
    assert why_not("ort-cuda", DEVICE) is None
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "cannot be imported" in (why_not("ort-cuda", DEVICE) or "")


def test_targets_of_later_times() -> None:
    """One that is not known here is tried."""
    assert why_not("something-new", DEVICE) is None
