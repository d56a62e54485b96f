"""The target `ort-cpu`: what is rewritten, what is copied, and that it computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from janus_edge import __version__, cpu_session
from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.engine import Engine
from janus_edge.engine_manifest import PassReport
from janus_edge.engines import ort_cpu
from janus_edge.engines.build import build_engine
from janus_edge.engines.lowering.passes import Outcome, Pass
from janus_edge.engines.ort_cpu import OrtCpu
from janus_edge.errors import DependencyError, EngineError, LoweringError
from janus_edge.graphs import Graph
from janus_edge.processor import EXACT, SATURATING, int8_products
from janus_edge.recipe import RECIPES, Recipe, Rule, Scheme
from janus_edge.runtime import session
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import open_backend
from tests.unit.int8_cache import int8_cache_bundle


def rename_nodes(model: ir.Model) -> Outcome:
    """A rewrite that changes every name of a node and no number."""
    for number, node in enumerate(model.graph):
        node.name = f"renamed_{number}"
    return Outcome(len(model.graph), ("output: stays",))


def rename_an_output(model: ir.Model) -> Outcome:
    model.graph.outputs[0].name = "other"
    return Outcome(1)


def break_a_node(model: ir.Model) -> Outcome:
    next(iter(model.graph)).op_type = "NoSuchOperator"
    return Outcome(1)


class Lowering(OrtCpu):
    """As the target, with one pass on the text head only."""

    def __init__(
        self, rewrite: Callable[[ir.Model], Outcome] | None, *, expected: bool = True
    ) -> None:
        super().__init__()
        self.given = (Pass("given", rewrite, expected),) if rewrite else ()

    def passes(self, graph: Graph, recipe: Recipe) -> tuple[Pass, ...]:
        return self.given if graph is Graph.TEXT_HEAD else ()


def test_without_passes_graphs_are_copied(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    engine = build_engine(bundle, Lowering(None), tmp_path / "e").engine
    assert engine.manifest.files == bundle.manifest.files
    for graph in Graph:
        built, size = engine.manifest.builds[graph.value], bundle.graph_bytes(graph)
        assert built.passes == {}
        assert built.workspace_bytes is None
        assert 0 < built.weight_bytes < size or graph is Graph.GUIDED_SAMPLER


def test_a_pass_that_changes_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    """It is told of, and the graph is copied; where it was expected to change something it is an
    error that leaves nothing."""
    nothing = Lowering(lambda model: Outcome(0, ("node: reason",)), expected=False)
    engine = build_engine(Bundle.open(tiny_bundle), nothing, tmp_path / "e").engine
    assert engine.manifest.builds["text_head"].passes == {"given": PassReport(0, ("node: reason",))}
    assert engine.manifest.files == Bundle.open(tiny_bundle).manifest.files
    expected = Lowering(lambda model: Outcome(0, ("node: reason",)))
    with pytest.raises(LoweringError, match=r"'given' changed nothing \(node: reason\)"):
        build_engine(Bundle.open(tiny_bundle), expected, tmp_path / "f")
    assert [p.name for p in tmp_path.iterdir()] == ["e"]


def test_a_pass_that_changes_a_graph(tiny_bundle: Path, tmp_path: Path) -> None:
    """The rewritten graph is written, with its weights beside it, and runs as before."""
    build_engine(Bundle.open(tiny_bundle), Lowering(rename_nodes), tmp_path / "e")
    engine = Engine.open(tmp_path / "e")
    bundle = Bundle.open(tiny_bundle)
    passes = engine.manifest.builds["text_head"].passes
    assert passes["given"].left == ("output: stays",)
    assert passes["given"].changed >= 1
    changed = {f for f, e in engine.manifest.files.items() if e != bundle.manifest.files.get(f)}
    assert "graphs/text_head.onnx" in changed
    assert changed <= {"graphs/text_head.onnx", "graphs/text_head.weights"}
    assert ir.load(engine.graph(Graph.TEXT_HEAD)).graph.node("renamed_0")
    with Janus.load(tiny_bundle) as janus, Janus.load(engine.path) as other:
        photo = janus.generate("a fox")[0].image
        answers = [j.describe(photo, "What is this?", max_new_tokens=4) for j in (janus, other)]
    assert answers[0].token_ids == answers[1].token_ids


@pytest.mark.parametrize(
    ("rewrite", "message"),
    [
        (rename_an_output, "text_head: its inputs or outputs are wrong after given"),
        (break_a_node, "text_head.onnx: not a valid ONNX model after its lowering passes"),
    ],
)
def test_a_mistake_in_a_pass(
    tiny_bundle: Path, tmp_path: Path, rewrite: Callable[[ir.Model], Outcome], message: str
) -> None:
    """A graph that would not run, or not fit, is not written."""
    with pytest.raises(LoweringError, match=message):
        build_engine(Bundle.open(tiny_bundle), Lowering(rewrite), tmp_path / "e")
    assert list(tmp_path.iterdir()) == []


WEIGHTS = Recipe("w", "float32", (Rule("language_model/*", Scheme("int8", 32)), Rule("*", None)))


@pytest.fixture(scope="module", params=["fp32", "int8 weights", "int8-cache"])
def bundle(
    request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    if request.param == "fp32":
        return tiny_bundle
    path = tmp_path_factory.mktemp("quantised") / "tiny"
    if request.param == "int8-cache":
        return int8_cache_bundle(tiny_bundle, path.parent)
    return quantise_bundle(Bundle.open(tiny_bundle), path, WEIGHTS)[0].path


def test_an_engine_computes_what_its_bundle_does(bundle: Path, tmp_path: Path) -> None:
    """Code by code and token by token, for one picture and for several of several prompts."""
    engine = build_engine(Bundle.open(bundle), OrtCpu(), tmp_path / "e").engine
    passes = engine.manifest.builds["language_model"].passes
    layers = engine.manifest.config.language.layers
    assert passes["group_query_attention"] == PassReport(layers)
    assert passes["skip_norm"].changed == 2 * layers
    assert passes["joined_projections"].changed == 2 * layers
    with Janus.load(bundle, threads=1) as janus, Janus.load(tmp_path / "e", threads=1) as other:
        for arguments in (("a red fox",), (["a red fox", "a small blue square on a table"], 2, 3)):
            pictures = [j.generate(*arguments) for j in (janus, other)]  # type: ignore[arg-type]
            codes = [np.array([p.codes for p in painted]) for painted in pictures]
            np.testing.assert_array_equal(*codes)
        photo = pictures[0][0].image
        answers = [j.describe(photo, "What is this?", max_new_tokens=8) for j in (janus, other)]
        assert answers[0].token_ids == answers[1].token_ids
        np.testing.assert_array_equal(janus.encode(photo), other.encode(photo))


def test_passes_by_recipe() -> None:
    """Each graph's own in any precision; integers where inputs are int8."""
    names = {
        graph: [p.name for p in OrtCpu().passes(graph, RECIPES["fp16"])]
        for graph in (Graph.LANGUAGE_MODEL, Graph.VQ_DECODER, Graph.TEXT_HEAD)
    }
    assert names[Graph.TEXT_HEAD] == []
    assert names[Graph.VQ_DECODER] == ["group_norm"]
    assert "group_query_attention" in names[Graph.LANGUAGE_MODEL]
    int8 = Recipe("r", "float32", (Rule("vq_*", None), Rule("*", Scheme("int8", inputs="maximum"))))
    for graph, before in names.items():
        found = [p.name for p in OrtCpu().passes(graph, int8)]
        passes = ["unsigned_activations", "channels_last"]
        # it leaves nothing of the VQ graphs' norms that lie between convolutions of integers
        assert found == [*passes, *before] if graph is Graph.VQ_DECODER else [*before, *passes]
        assert [p.name for p in OrtCpu().passes(graph, WEIGHTS)] == before


@pytest.mark.parametrize("products", [EXACT, SATURATING])
def test_convolutions_by_processor(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, products: str
) -> None:
    """Weights are of the type that the processor's products want; elsewhere the engine is refused, but
    one without 8-bit inputs is not."""
    for module in (ort_cpu, session, cpu_session):
        monkeypatch.setattr(module, "int8_products", lambda: products)
    bundle = int8_cache_bundle(tiny_bundle, tmp_path, "int8-images")
    engine = build_engine(Bundle.open(bundle), OrtCpu(), tmp_path / "e").engine
    assert engine.manifest.builds["vq_decoder"].passes["channels_last"].changed > 10
    stored = ir.load(engine.graph(Graph.VQ_DECODER)).graph.initializers
    wanted = ir.DataType.INT8 if products == EXACT else ir.DataType.UINT8
    assert {v.dtype for name, v in stored.items() if name.endswith(".columns")} == {wanted}
    plain = build_engine(Bundle.open(tiny_bundle), OrtCpu(), tmp_path / "f").engine
    open_backend(engine).close()
    other = SATURATING if products == EXACT else EXACT
    monkeypatch.setattr(session, "int8_products", lambda: other)
    open_backend(plain).close()
    with pytest.raises(EngineError, match=f"int8 products {products} and this machine has {other}"):
        open_backend(engine)


def test_bfloat16_is_refused_with_the_fix() -> None:
    bundle: Any = SimpleNamespace(path=Path("b"), manifest=SimpleNamespace(recipe=RECIPES["bf16"]))
    with pytest.raises(EngineError, match=r"b: .*bfloat16.* --precision fp32 \(or fp16\)"):
        OrtCpu().check(bundle)
    OrtCpu().check(SimpleNamespace(manifest=SimpleNamespace(recipe=RECIPES["fp16"])))  # type: ignore[arg-type]


def test_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The versions of what builds and of what runs; without the latter the extra is named."""
    tools = OrtCpu().tools()
    assert tools.keys() == {"janus-edge", "onnx", "onnx-ir", "onnxruntime", "int8 products"}
    assert tools["int8 products"] == int8_products()
    assert tools["janus-edge"] == __version__
    assert tools["onnxruntime"] == onnxruntime.__version__
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"janus-edge\[cpu\]"):
        OrtCpu().tools()
