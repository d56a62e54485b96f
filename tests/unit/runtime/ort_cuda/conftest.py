"""The tiny bundle built for `ort-cuda`, and a machine that seems to have a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from janus_edge.bundle import Bundle
from janus_edge.engine import Engine
from janus_edge.engines.build import build_engine
from janus_edge.engines.ort_cuda import OrtCuda
from janus_edge.runtime.cuda.device import Device
from janus_edge.runtime.ort_cuda import backend, provider
from tests.unit.runtime.cuda.fake_driver import FakeDriver
from tests.unit.runtime.ort_cuda.fake_onnxruntime import FakeOnnxRuntime


@pytest.fixture(scope="session")
def engine(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """``tiny_bundle`` in float32; not to be changed."""
    folder = tmp_path_factory.mktemp("ort-cuda") / "tiny"
    return build_engine(Bundle.open(tiny_bundle), OrtCuda(), folder).engine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeOnnxRuntime:
    """ONNX Runtime with a GPU of 1 GiB."""
    fake = FakeOnnxRuntime()
    monkeypatch.setattr(backend, "Gpu", lambda: Device(FakeDriver(total=1 << 30)))
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(provider, "why_no_gpu", lambda: None)
    return fake
