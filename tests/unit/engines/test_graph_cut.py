"""Parts of a graph: they make the same values, with the weights that lie beside the graph."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import pytest

from janus_edge.bundle import Bundle
from janus_edge.config import JanusConfig
from janus_edge.engines.graph_cut import cut, float_values, read_graph, save_beside
from janus_edge.engines.parity_feeds import seeded_feeds
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle, verify=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Removed behind a test: onnx refuses the bundle's weights while they have other links."""
    with TemporaryDirectory() as own:
        yield Path(own)


@pytest.fixture(scope="module")
def config(bundle: Bundle) -> JanusConfig:
    return bundle.manifest.config


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_values_are_the_floats_in_order(bundle: Bundle) -> None:
    """Hidden states end the language model; shapes and positions are not among its values."""
    values = float_values(read_graph(bundle.graph(Graph.LANGUAGE_MODEL)))
    assert values[-1].name == "hidden_states"
    assert values[-1].op_type == "RMSNormalization"
    names = [value.node for value in values]
    assert names.index("layers.0.mlp.down_proj/MatMul") < names.index("layers.1.mlp.up_proj/MatMul")
    assert not {"Shape", "Range", "Concat"} & {value.op_type for value in values}


@pytest.mark.parametrize("index", [0, 20, -1])
def test_a_part_makes_the_same(
    bundle: Bundle, config: JanusConfig, folder: Path, index: int
) -> None:
    """A value of a part is the value of the whole graph, bit by bit without optimisations."""
    source = bundle.graph(Graph.LANGUAGE_MODEL)
    feed = seeded_feeds(Graph.LANGUAGE_MODEL, config, "float32", capacity=32)[0]
    model = read_graph(source)
    value = float_values(model)[index].name
    shapes = {name: array.shape for name, array in feed.items()}
    whole = onnx.load(str(source))
    part = save_beside(cut(model, value, shapes), source, folder, "part")
    if value not in {output.name for output in whole.graph.output}:
        whole.graph.output.append(next(v for v in whole.graph.value_info if v.name == value))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    made = []
    for source_of in (str(part), whole.SerializeToString()):
        opened = onnxruntime.InferenceSession(
            source_of, options, providers=["CPUExecutionProvider"]
        )
        names = {one.name for one in opened.get_inputs()}
        made += opened.run([value], {n: a for n, a in feed.items() if n in names})
    np.testing.assert_array_equal(*made)


def test_a_part_is_smaller_and_fixed(bundle: Bundle, config: JanusConfig, folder: Path) -> None:
    """Only what leads to the value is kept, and every input has numbers for dimensions."""
    source = bundle.graph(Graph.IMAGE_HEAD)
    model = read_graph(source)
    part = save_beside(
        cut(model, "proj_out/Add_output_0", {"hidden_states": (2, 64)}), source, folder, "head"
    )
    opened = session(part)
    assert [(i.name, i.shape) for i in opened.get_inputs()] == [("hidden_states", [2, 64])]
    assert [o.name for o in opened.get_outputs()] == ["proj_out/Add_output_0"]
    kept = read_graph(part).graph
    assert {tensor.name for tensor in kept.initializer} == {"proj_out.weight", "proj_out.bias"}
    assert len(kept.node) == 2


def test_an_updated_cache_stays_an_output(bundle: Bundle, config: JanusConfig) -> None:
    """TensorRT refuses a TensorScatter whose result is no output of the network."""
    feed = seeded_feeds(Graph.LANGUAGE_MODEL, config, "float32", capacity=32)[0]
    shapes = {name: array.shape for name, array in feed.items()}
    model = read_graph(bundle.graph(Graph.LANGUAGE_MODEL))
    part = cut(model, "layers.0.mlp.down_proj/MatMul_output_0", shapes)
    assert [output.name for output in part.graph.output] == [
        "layers.0.mlp.down_proj/MatMul_output_0", "lengths", "present_key.0", "present_value.0",
    ]  # fmt: skip
    assert {i.name for i in part.graph.input} == {
        "inputs_embeds", "past_lengths", "past_key.0", "past_value.0"
    }  # fmt: skip


def test_weights_are_linked_or_copied(
    bundle: Bundle, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where links cannot be made, across file systems, say, weights are copied; once."""

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    source = bundle.graph(Graph.TEXT_HEAD)
    model = cut(read_graph(source), "logits", {"hidden_states": (2, 64)})
    part = save_beside(model, source, folder, "a")
    monkeypatch.setattr(shutil, "copyfile", refuse)
    assert save_beside(model, source, folder, "b") != part
    assert session(part).run(None, {"hidden_states": np.zeros((2, 64), np.float32)})


def test_a_value_that_is_not_there(bundle: Bundle) -> None:
    model = read_graph(bundle.graph(Graph.TEXT_HEAD))
    with pytest.raises(EngineError, match="'text_head' makes no value called 'nothing'"):
        cut(model, "nothing", {})


def test_a_file_that_is_no_graph(folder: Path) -> None:
    path = folder / "graph.onnx"
    path.write_bytes(b"\xff\xff")
    with pytest.raises(EngineError, match="not an ONNX graph"):
        read_graph(path)
