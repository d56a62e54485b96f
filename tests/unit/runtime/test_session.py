"""The ONNX Runtime session: buffers used as they are, and errors that say what to do."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx.parser
import pytest

from janus_edge.errors import BackendError, DependencyError, InputError
from janus_edge.graphs import Graph
from janus_edge.recipe import RECIPES, Recipe, Rule, Scheme
from janus_edge.runtime.session import OrtCpuBackend, OrtSession

GRAPH = """
<ir_version: 11, opset_import: ["" : 24]>
doubled (float[N, 3] x, float s) => (float[N, 3] y) { y = Mul(x, s) }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "doubled.onnx"
    onnx.save(onnx.parser.parse_model(GRAPH), file)
    return file


@pytest.fixture
def buffers() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    return {"x": x, "s": np.array(2, np.float32)}, {"y": np.zeros((2, 3), np.float32)}


def bundle(precision: str, file: Path) -> Any:
    manifest = SimpleNamespace(recipe=RECIPES[precision])
    return SimpleNamespace(path=file.parent, manifest=manifest, graph=lambda _graph: file)


def test_bound_buffers_are_read_and_written_in_place(path: Path, buffers: Any) -> None:
    """Every call reads what the input buffers hold then and writes into the output buffer."""
    inputs, outputs = buffers
    call = OrtSession(path).bind(inputs, outputs)
    call()
    np.testing.assert_array_equal(outputs["y"], 2 * inputs["x"])
    inputs["x"][:] = 7
    inputs["s"][...] = 3
    call()
    np.testing.assert_array_equal(outputs["y"], np.full((2, 3), 21))


def test_a_call_keeps_its_buffers_alive(path: Path, buffers: Any) -> None:
    """Buffers that the caller dropped live as long as the call, and no longer."""
    inputs, outputs = buffers
    watched = [weakref.ref(array) for array in (*inputs.values(), *outputs.values())]
    call = OrtSession(path).bind(inputs, outputs)
    inputs.clear()
    outputs.clear()
    gc.collect()
    assert all(reference() is not None for reference in watched)
    call()
    np.testing.assert_array_equal(watched[2](), [[0, 2, 4], [6, 8, 10]])
    del call
    gc.collect()
    assert all(reference() is None for reference in watched)


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_buffer_with_gaps_is_refused(path: Path, buffers: Any, name: str) -> None:
    """A buffer that is not contiguous would be copied, and results lost: it is refused by name."""
    inputs, outputs = buffers
    (inputs if name == "x" else outputs)[name] = np.zeros((2, 6), np.float32)[:, ::2]
    with pytest.raises(BackendError, match=f"doubled.onnx: .*{name}: .* must be contiguous"):
        OrtSession(path).bind(inputs, outputs)


@pytest.mark.parametrize(
    "wrong",
    [{"unknown": np.zeros(3, np.float32)}, {"x": np.zeros((2, 4), np.float32)},
     {"x": np.zeros((2, 3), np.float64)}],
)  # fmt: skip
def test_wrong_buffers_are_backend_errors(path: Path, buffers: Any, wrong: Any) -> None:
    """A wrong name, shape or dtype is a BackendError that names the graph, at binding or at the
    call; ONNX Runtime's own exceptions do not come through."""
    inputs, outputs = buffers
    with pytest.raises(BackendError, match=r"doubled\.onnx: (cannot bind|failed while running)"):
        OrtSession(path).bind({**inputs, **wrong}, outputs)()


def test_a_graph_that_cannot_be_opened(tmp_path: Path) -> None:
    """A damaged graph, or one with an operator that this ONNX Runtime lacks, is a BackendError."""
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not an onnx file")
    strange = tmp_path / "strange.onnx"
    onnx.save(onnx.parser.parse_model(GRAPH.replace("Mul(", "no.such.Operator(")), strange)
    for file in (damaged, strange, tmp_path / "absent.onnx"):
        with pytest.raises(BackendError, match=rf"{file.name}: ONNX Runtime .* cannot open"):
            OrtSession(file)


def test_bfloat16_is_refused_with_the_fix(path: Path) -> None:
    """A bfloat16 bundle is refused before anything is opened, with the export that would run."""
    with pytest.raises(BackendError, match=r"bfloat16, .* export with --precision fp32"):
        OrtCpuBackend(bundle("bf16", path))


def test_nvfp4_is_refused_with_the_fix(path: Path) -> None:
    """ONNX Runtime has no kernel for nvfp4, and the error says so before a graph is opened."""
    given = bundle("fp32", path)
    given.manifest.recipe = Recipe("r", "float32", (Rule("*", Scheme("nvfp4", 16)),))
    with pytest.raises(
        BackendError, match=r"nvfp4, .* no CPU kernels for them; quantise .* int4-weight"
    ):
        OrtCpuBackend(given)


def test_sessions_are_opened_once_and_freed(path: Path) -> None:
    """A graph is opened when it is first asked for, once; close() frees it, a later call reopens."""
    opened = []
    given = bundle("fp16", path)
    given.graph = lambda graph: (opened.append(graph), path)[1]
    backend = OrtCpuBackend(given, threads=1)
    assert backend.float_dtype == np.float16
    assert opened == []
    session = backend.session(Graph.TEXT_HEAD)
    assert backend.session(Graph.TEXT_HEAD) is session
    backend.session(Graph.IMAGE_HEAD)
    assert opened == [Graph.TEXT_HEAD, Graph.IMAGE_HEAD]
    backend.close()
    assert backend.session(Graph.TEXT_HEAD) is not session


def test_only_the_language_model_spins(path: Path) -> None:
    """Threads of other graphs would be in its way when a step begins, and they in each other's."""
    given = bundle("fp32", path)
    given.graph = lambda graph: path
    backend = OrtCpuBackend(given, threads=2)
    for graph in Graph:
        options = backend.session(graph)._session.get_session_options()
        stops = options.get_session_config_entry("session.force_spinning_stop")
        assert stops == ("0" if graph is Graph.LANGUAGE_MODEL else "1")


def test_onnxruntime_absent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime the error names the extra to install."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"janus-edge\[cpu\]"):
        OrtSession(path)


@pytest.mark.parametrize("version", ["1.23.2", "1.30.9", "0.9"])
def test_an_old_onnxruntime_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Before a graph is opened: older versions were not tried on its operators and its paths."""
    OrtSession(path)
    monkeypatch.setattr("onnxruntime.__version__", version)
    with pytest.raises(BackendError, match=f"{version} is too old.*onnxruntime >= 1.31"):
        OrtSession(path)


def test_threads_are_not_negative(path: Path) -> None:
    OrtSession(path, threads=1)
    with pytest.raises(InputError, match="threads must be at least 0, found -1"):
        OrtSession(path, threads=-1)
