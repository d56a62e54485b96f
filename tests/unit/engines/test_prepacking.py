"""Engines whose weights are laid out for this processor."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from janus_edge.bundle import Bundle
from janus_edge.engine import Engine
from janus_edge.engines import prepacking
from janus_edge.engines.build import build_engine
from janus_edge.engines.ort_cpu import OrtCpu
from janus_edge.engines.prepacking import prepack
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph
from janus_edge.manifest import GraphEntry
from janus_edge.processor import processor
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import open_backend
from tests.unit.perturbed import edit_manifest


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = tmp_path_factory.mktemp("prepacked") / "tiny"
    return build_engine(Bundle.open(tiny_bundle), OrtCpu(prepack=True), path).engine


def packed(graph: Path) -> list[str]:
    """Weights that are there as a kernel reads them."""
    initializers = onnx.load(str(graph), load_external_data=False).graph.initializer
    return [
        one.name
        for one in initializers
        if any(entry.key.startswith("prepacked") for entry in one.external_data)
    ]


def test_the_same_numbers(precision_bundle: Path, tmp_path: Path) -> None:
    """To the last bit: codes, tokens and pixels are those of the engine that is not prepacked."""
    plain = build_engine(Bundle.open(precision_bundle), OrtCpu(), tmp_path / "a").engine
    engine = build_engine(
        Bundle.open(precision_bundle), OrtCpu(prepack=True), tmp_path / "b"
    ).engine
    assert plain.manifest.key != engine.manifest.key
    assert engine.manifest.options == {"prepack": ""}
    assert packed(engine.graph(Graph.LANGUAGE_MODEL))
    assert not packed(plain.graph(Graph.LANGUAGE_MODEL))
    with Janus.load(plain.path, threads=1) as janus, Janus.load(engine.path, threads=1) as other:
        pictures = [j.generate(["a red fox", "two"], 2) for j in (janus, other)]
        for one, two in zip(*pictures, strict=True):
            np.testing.assert_array_equal(one.codes, two.codes)
            np.testing.assert_array_equal(np.asarray(one.image), np.asarray(two.image))
        photo = pictures[0][0].image
        answers = [j.describe(photo, "What is this?", max_new_tokens=8) for j in (janus, other)]
        assert answers[0].token_ids == answers[1].token_ids


def test_graphs_and_files(engine: Engine) -> None:
    """Each graph and its weights, nothing that was needed on the way, and a graph without weights."""
    assert engine.manifest.tools["processor"] == processor()
    names = {path.name for path in (engine.path / "graphs").iterdir()}
    weighted = [graph.value for graph in Graph if graph is not Graph.GUIDED_SAMPLER]
    expected = {f"{graph.value}.onnx" for graph in Graph} | {f"{name}.weights" for name in weighted}
    assert names == expected
    assert sorted(path.name for path in engine.path.iterdir()) == [
        "graphs", "manifest.json", "text_embeddings.bin", "tokenizer.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "value"), [("processor", "x86_64 avx512f"), ("onnxruntime", "1.31.0")]
)
def test_another_machine(engine: Engine, tmp_path: Path, tool: str, value: str) -> None:
    """Where kernels may read another layout it does not run, and says how to build it again."""
    copy = Path(shutil.copytree(engine.path, tmp_path / "e"))
    edit_manifest(copy, lambda d: d["tools"].update({tool: value}))
    with pytest.raises(
        EngineError, match=rf"built with {tool} {value} and .* ort-cpu --prepack --force"
    ):
        open_backend(Engine.open(copy))


def test_another_patch_of_onnxruntime_will_do_without(tiny_bundle: Path, tmp_path: Path) -> None:
    plain = build_engine(Bundle.open(tiny_bundle), OrtCpu(), tmp_path / "e").engine
    edit_manifest(plain.path, lambda d: d["tools"].update(onnxruntime="1.31.99"))
    open_backend(Engine.open(plain.path)).close()


def test_a_failure_leaves_the_graph(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("no space left")

    monkeypatch.setattr(prepacking, "cpu_session", failing)
    copy = Path(shutil.copytree(engine.path, tmp_path / "e"))
    before = sorted(copy.rglob("*"))
    entry = engine.manifest.graphs["text_head"]
    with pytest.raises(EngineError, match=r"text_head: .*\(no space left\); build without --prep"):
        prepack(entry, copy, (), quantised=False)
    assert sorted(copy.rglob("*")) == before


def test_blobs_begin_at_pages(engine: Engine) -> None:
    """Kernels may begin their layout at the next multiple of 64 bytes in memory."""
    path = engine.graph(Graph.LANGUAGE_MODEL)
    initializers = onnx.load(str(path), load_external_data=False).graph.initializer
    values = [e.value for one in initializers for e in one.external_data if "prepacked" in e.key]
    offsets = [int(blob.split(";")[0]) for value in values for blob in value.split("|")[1:]]
    assert len(offsets) >= 4
    assert [offset % 4096 for offset in offsets] == [0] * len(offsets)


def test_other_numbers_are_an_error(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with blobs where ONNX Runtime does not expect them."""

    class Session:
        def __init__(self, *_: object, prepacked: Path | None = None, **__: object) -> None:
            self.value = 1.0 if prepacked else np.nan

        def get_outputs(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(name="logits"), SimpleNamespace(name="present_key.0")]

        def run(self, names: list[str], feed: object) -> list[np.ndarray]:
            assert names == ["logits"]
            return [np.array([0.0, self.value])]

    monkeypatch.setattr(prepacking, "cpu_session", Session)
    copy = Path(shutil.copytree(engine.path, tmp_path / "e"))
    before = sorted(copy.rglob("*"))
    with pytest.raises(EngineError, match="text_head: logits of call 0 is not the same once"):
        prepack(engine.manifest.graphs["text_head"], copy, ({},), quantised=False)
    assert sorted(copy.rglob("*")) == before


def test_small_constants_need_no_file(tmp_path: Path) -> None:
    """What ONNX Runtime puts into the graph itself is not missed."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N, 2] x) => (float[N, 2] y) { y = Add(x, w) }'
    )
    weight = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    model.graph.initializer.append(weight)
    (tmp_path / "graphs").mkdir()
    onnx.save(model, str(tmp_path / "graphs/g.onnx"), save_as_external_data=True, location="g.weights",
              size_threshold=0)  # fmt: skip
    entry = GraphEntry("graphs/g.onnx", ("graphs/g.weights",), (), ())
    found = prepack(entry, tmp_path, (), quantised=False)
    assert found == GraphEntry("graphs/g.onnx", (), (), ())
    assert [path.name for path in (tmp_path / "graphs").iterdir()] == ["g.onnx"]
