"""`janus-edge doctor`."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.runtime.cuda.fake_driver import FakeDriver

Run = Callable[..., Any]


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Change which packages seem to be installed (names with ``_`` for ``-``)."""
    real = importlib.metadata.version
    changed = {name.replace("_", "-"): version for name, version in versions.items()}

    def version(name: str) -> str:
        found = changed[name] if name in changed else real(name)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)


def findings(done: Any) -> dict[str, dict[str, str]]:
    return {finding["what"]: finding for finding in json.loads(done.out)}


def test_good(janus_edge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is wrong the exit code is 0, and every finding is ok or absent."""
    pretend(monkeypatch, onnxruntime="1.31.1", onnxruntime_gpu=None)
    done = janus_edge("doctor", "--json")
    assert done.code == 0
    found = findings(done)
    assert {f["state"] for f in found.values()} <= {"ok", "absent"}
    assert "CPU" in found["providers"]["detail"]
    assert "processors" in found["machine"]["detail"]
    assert janus_edge("doctor").code == 0


def test_gpu(janus_edge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver tells of the GPU; without one the reason, and no problem."""
    monkeypatch.setattr("ctypes.CDLL", lambda _name: FakeDriver())
    found = findings(janus_edge("doctor", "--json"))["NVIDIA GPU"]
    assert found["state"] == "ok"
    assert found["detail"] == "Fake GPU, compute capability 8.9, driver for CUDA 13.0"
    monkeypatch.setattr("ctypes.CDLL", lambda _name: FakeDriver(count=0))
    found = findings(janus_edge("doctor", "--json"))["NVIDIA GPU"]
    assert found["state"] == "absent"
    assert "the driver sees no GPU; check `nvidia-smi`" in found["detail"]


@pytest.mark.parametrize(
    ("capability", "target"), [((9, 0), "tensorrt"), ((8, 7), "tensorrt-10.3 (JetPack 6)")]
)
def test_a_gpu_that_tensorrt_rtx_does_not_know(
    janus_edge: Run, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], target: str
) -> None:
    """The target to build for is reported before anything is built."""
    monkeypatch.setattr("ctypes.CDLL", lambda _name: FakeDriver(capability=capability))
    found = findings(janus_edge("doctor", "--json"))["NVIDIA GPU"]
    assert found["state"] == "ok"
    assert f"TensorRT-RTX does not build for it: use --target {target}" in found["detail"]


def test_both_onnxruntimes(janus_edge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime and onnxruntime-gpu share a folder: a problem, with the command that mends it."""
    pretend(monkeypatch, onnxruntime="1.31.1", onnxruntime_gpu="1.31.1")
    done = janus_edge("doctor", "--json")
    assert done.code == 1
    finding = findings(done)["ONNX Runtime"]
    assert finding["state"] == "problem"
    assert "both installed" in finding["detail"]
    assert finding["fix"].startswith("pip uninstall -y onnxruntime onnxruntime-gpu")
    plain = janus_edge("doctor")
    assert plain.code == 1
    assert finding["fix"] in plain.out


def test_no_onnxruntime(janus_edge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any ONNX Runtime nothing can run: a problem."""
    pretend(monkeypatch, onnxruntime=None, onnxruntime_gpu=None)
    done = janus_edge("doctor", "--json")
    assert done.code == 1
    assert findings(done)["ONNX Runtime"]["fix"].startswith("pip install 'janus-edge[cpu]'")


def test_what_is_optional_is_no_problem(janus_edge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the exporter is a machine for the runtime: absent, with the extra's name."""
    pretend(monkeypatch, torch=None, transformers=None, onnx=None, onnxruntime_gpu=None)
    done = janus_edge("doctor", "--json")
    assert done.code == 0
    assert findings(done)["torch"]["state"] == "absent"
    assert "janus-edge[export]" in findings(done)["torch"]["detail"]


def test_what_is_needed_is_a_problem(janus_edge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, tokenizers=None, onnxruntime_gpu=None)
    done = janus_edge("doctor", "--json")
    assert done.code == 1
    assert findings(done)["tokenizers"]["state"] == "problem"
