"""Opening an engine for the GPU: what is missing is told with its fix, and nothing runs on the CPU."""

from __future__ import annotations

import shutil
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from janus_edge.bench.bandwidth import MeasuresBandwidth
from janus_edge.bench.process_memory import ReportsDeviceMemory
from janus_edge.engine import Engine
from janus_edge.errors import BackendError, DependencyError, EngineError
from janus_edge.graphs import Graph
from janus_edge.runtime.ort_cuda import provider
from janus_edge.runtime.ort_cuda.backend import OrtCudaBackend
from janus_edge.runtime.ort_cuda.device_array import DeviceArray
from janus_edge.runtime.ort_cuda.provider import Provider
from janus_edge.runtime.session import open_backend
from tests.unit.perturbed import edit_manifest
from tests.unit.runtime.ort_cuda.fake_onnxruntime import FakeOnnxRuntime, FakeSession

FALLBACK = (
    "This session contains graph nodes ... but fallback to CPU EP has been explicitly disabled"
)


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_which_backend(engine: Engine, machine: FakeOnnxRuntime, *, cuda_graph: bool) -> None:
    """Engines of the target run on the CUDA provider and no other; graphs of a step may be captured
    unless it was asked not to, and float32 is not rounded."""
    backend = open_backend(engine, cuda_graph=cuda_graph)
    assert isinstance(backend, OrtCudaBackend)
    for graph in (Graph.LANGUAGE_MODEL, Graph.VQ_DECODER):
        assert backend.session(graph) is backend.session(graph)
    captured, plain = machine.opened
    assert captured.own.get("enable_cuda_graph") == ("1" if cuda_graph else None)
    assert "enable_cuda_graph" not in plain.own
    for session in machine.opened:
        assert session.strict
        assert session.weights_apart
        assert session.own["use_tf32"] == "0"
        assert "device_id" not in session.own  # of which each session would warn
    backend.close()


def test_what_is_measured_of_the_gpu(engine: Engine, machine: FakeOnnxRuntime) -> None:
    """Memory that is taken behind the opening counts, and still does once it is free again; on the CPU
    there is no GPU to tell of."""
    with closing(OrtCudaBackend(engine)) as backend:
        assert isinstance(backend, ReportsDeviceMemory)
        assert isinstance(backend, MeasuresBandwidth)
        before = backend.device_memory_peak()
        assert backend.read_bandwidth() > 0
        # two buffers of a quarter of the memory; those of tests are a little larger
        assert backend.device_memory_peak() - before >= 2 * (250 << 20)
    assert backend.device_memory_peak() < 64 << 20  # opened anew
    backend.close()
    for asked in (OrtCudaBackend.device_memory_peak, OrtCudaBackend.read_bandwidth):
        with pytest.raises(BackendError, match="no GPU to measure: the device is the CPU"):
            asked(OrtCudaBackend(engine, device="cpu"))


def test_an_engine_of_another_version(
    engine: Engine, machine: FakeOnnxRuntime, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(engine.path, tmp_path / "e"))
    edit_manifest(copy, lambda d: d["tools"].update(onnxruntime="1.30.0"))
    with pytest.raises(EngineError, match=r"onnxruntime 1\.30\.0 .* --target ort-cuda --force"):
        open_backend(Engine.open(copy))
    assert machine.opened == []


def test_no_onnxruntime(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"is not installed: .*janus-edge\[gpu\]"):
        open_backend(engine)


def test_the_other_onnxruntime(engine: Engine, machine: FakeOnnxRuntime) -> None:
    """The CPU's package, which has no such provider."""
    machine.providers = ["CPUExecutionProvider"]
    with pytest.raises(DependencyError, match=r"has no CUDA provider .*pip uninstall -y .*\[gpu\]"):
        open_backend(engine)


def test_no_gpu(engine: Engine, machine: FakeOnnxRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "why_no_gpu", lambda: "there is no NVIDIA driver; install it")
    with pytest.raises(
        BackendError, match="no GPU can be used: there is no NVIDIA driver; install"
    ):
        open_backend(engine)


def test_nodes_without_a_kernel(engine: Engine, machine: FakeOnnxRuntime) -> None:
    """They are named, by opening the graph once more with the CPU allowed."""

    def failure(session: FakeSession) -> Exception | None:
        return RuntimeError(FALLBACK) if session.strict else None

    machine.failure = failure
    backend = open_backend(engine)
    with pytest.raises(
        BackendError, match=r"1 of its nodes have no kernel there: a/Range \(Range\)"
    ):
        backend.session(Graph.IMAGE_HEAD)
    assert [session.strict for session in machine.opened] == [True, False]


def test_a_provider_that_does_not_load(
    engine: Engine, machine: FakeOnnxRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime goes on without it; what it printed about libraries is told in the error only."""
    machine.failure = lambda session: RuntimeError(FALLBACK) if session.strict else None
    machine.loaded = ["CPUExecutionProvider"]
    backend = open_backend(engine)
    with pytest.raises(
        BackendError, match=r"not be loaded \(Failed to load libcublas.*pip install"
    ):
        backend.session(Graph.IMAGE_HEAD)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("Failed to allocate memory for requested buffer", "free memory of the GPU"),
        ("CUDA failure 35: driver version is insufficient", "update the NVIDIA driver"),
        ("cuDNN is unavailable or disabled", "install cuDNN's library with"),
        ("cannot use the graph capture feature as requested", "--no-cuda-graph"),
        ("an illegal memory access was encountered", "janus-edge verify"),
    ],
)
def test_failures_and_fixes(engine: Engine, machine: FakeOnnxRuntime, text: str, fix: str) -> None:
    """Opening and running: each failure with what helps."""
    machine.failure = lambda _: RuntimeError(text)
    backend = open_backend(engine)
    with pytest.raises(BackendError, match=rf"image_head.onnx: .*{text}.*{fix}"):
        backend.session(Graph.IMAGE_HEAD)
    machine.failure, machine.run_failure = None, RuntimeError(text)
    config = engine.manifest.config
    hidden = np.zeros((1, config.language.hidden_size), np.float32)
    logits = np.zeros((1, config.vq.codebook_size), np.float32)
    call = backend.session(Graph.IMAGE_HEAD).bind({"hidden_states": hidden}, {"logits": logits})
    with pytest.raises(BackendError, match=rf"image_head.onnx: failed while running .*{fix}"):
        call()


@pytest.mark.parametrize("quantised", [True, False])
def test_optimisers_for_integers(
    engine: Engine, machine: FakeOnnxRuntime, *, quantised: bool
) -> None:
    """Biases of convolutions stay floats: there is no kernel for integer ones."""
    Provider().open(engine.graph(Graph.IMAGE_HEAD), quantised=quantised)
    expected = ["QDQPropagationTransformer", "WeightBiasQuantization"] if quantised else []
    assert machine.opened[0].disabled == expected


def test_no_memory(machine: FakeOnnxRuntime) -> None:
    """An array that does not fit says how large it would have been."""
    machine.memory_failure = RuntimeError("Failed to allocate memory for requested buffer")
    with pytest.raises(BackendError, match=r"the KV cache: 8\.0 MiB cannot be had .*free memory"):
        DeviceArray(Provider(), (2, 1024, 1024), np.float32, "the KV cache")
