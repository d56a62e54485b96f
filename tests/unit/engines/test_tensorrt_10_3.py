"""The target `tensorrt-10.3`: its lowered graphs are built, by NVIDIA's builder of today."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.recipes import Changes
from janus_edge.cuda_driver import Gpu
from janus_edge.engine import Engine
from janus_edge.engines import tensorrt_target
from janus_edge.engines.build import Target, build_engine
from janus_edge.engines.lowering.lowered_file import lower_graph, write_graph
from janus_edge.engines.lowering.passes import load
from janus_edge.engines.lowering.tensorrt_10_3_operators import check
from janus_edge.engines.targets import TargetOptions, target
from janus_edge.engines.tensorrt import api
from janus_edge.engines.tensorrt.build import build_plan
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.engines.tensorrt.request import build_here
from janus_edge.engines.tensorrt_10_3 import PASSES, TensorRT103
from janus_edge.errors import EngineError, LoweringError
from janus_edge.graphs import Graph, engine_signature
from janus_edge.recipe import RECIPES, Recipe, Rule, Scheme
from tests.unit.engines.tensorrt import fakes


class Row:
    """Nobody watches."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with a GPU and a TensorRT without attention layers."""
    module = fakes.fake_tensorrt().module
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(tensorrt_target, "first_gpu", lambda: Gpu("Orin", "8.7", "12.6"))
    monkeypatch.setattr(api, "why_no_gpu", lambda: None)
    return module


def target_for(bundle: Bundle, **options: Any) -> Target:
    made = target("tensorrt-10.3", bundle.manifest.config, TargetOptions(**options))
    assert isinstance(made, TensorRT103)
    made.build_plan = build_here  # a module of the tests stands in for TensorRT
    return made


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx has no wheel for this machine",
)
def test_it_builds(half_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX in TensorRT's place builds every graph: each pass changed something, and no
    layer is left of those that TensorRT 10.3 lacks."""
    monkeypatch.setitem(sys.modules, "tensorrt", importlib.import_module("tensorrt_rtx"))
    bundle = Bundle.open(half_bundle)
    made = target_for(bundle, capabilities=("8.6",), profile="capacity=32")
    manifest = build_engine(bundle, made, tmp_path / "e").engine.manifest
    Engine.open(tmp_path / "e").verify()
    assert [p.name for p in tmp_path.rglob("*") if ".lowered" in p.name] == []
    assert (manifest.target, "onnx-ir" in manifest.tools) == ("tensorrt-10.3", True)
    for graph in Graph:
        built = manifest.builds[graph.value]
        assert [*built.passes] == [step.name for step in PASSES[graph]]
        assert all(done.changed and not done.left for done in built.passes.values())
        kinds = {name.split()[0] for name in built.precisions}
        assert kinds
        assert not kinds & {"ATTENTION_INPUT", "KV_CACHE_UPDATE", "ROTARY_EMBEDDING", "SCATTER"}
        wanted = engine_signature(graph, manifest.config, "tensorrt-10.3")
        entry = manifest.graphs[graph.value]
        assert (entry.inputs, entry.outputs) == (wanted.inputs, wanted.outputs)
        assert (tmp_path / "e" / manifest.graphs[graph.value].file).stat().st_size


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx has no wheel for this machine",
)
@pytest.mark.parametrize("recipe", ["int8", "int4-weight"])
def test_quantised_language_models_build(half_bundle: Path, tmp_path: Path, recipe: str) -> None:
    """NVIDIA's parser and builder accept the language model that returns its new rows, with integer
    weights. Its network returns no cache."""
    from tests.unit.engines.tensorrt.test_recipes import graphs  # needs tensorrt-rtx

    bundle, graph = Bundle.open(half_bundle), Graph.LANGUAGE_MODEL
    config = bundle.manifest.config
    paths = dict(graphs(bundle, recipe, tmp_path, Changes()))
    wanted = engine_signature(graph, config, "tensorrt-10.3")
    model, lowered = load(paths[graph]), tmp_path / "lowered" / "language_model.onnx"
    lower_graph(model, graph.value, PASSES[graph], wanted.outputs)
    assert check(model) == ()
    write_graph(model, lowered)
    profile = parse_profile("rows=2:4,prefill=16:32,window=8,capacity=64", config)
    built = build_plan(
        lowered, graph, config, profile, api.load("tensorrt-rtx"), tmp_path / "lm.plan",
        ports=wanted, capabilities=("8.6",),
    )  # fmt: skip
    assert built.path.stat().st_size == built.size > 0
    assert {"DEQUANTIZE HALF", "MATRIX_MULTIPLY HALF"} <= built.precisions.keys()
    kinds = {name.split()[0] for name in built.precisions}
    assert not kinds & {"ATTENTION_INPUT", "KV_CACHE_UPDATE", "SCATTER"}


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx has no wheel for this machine",
)
def test_a_canonical_graph_is_not_one_of_its_own(half_bundle: Path, tmp_path: Path) -> None:
    """The builder compares the parsed network with the target's own outputs."""
    bundle, graph = Bundle.open(half_bundle), Graph.LANGUAGE_MODEL
    config = bundle.manifest.config
    with pytest.raises(
        EngineError, match=r"has the outputs .*present_key\.0.* instead of .*new_key"
    ):
        build_plan(
            bundle.graph(graph), graph, config, parse_profile("capacity=64", config),
            api.load("tensorrt-rtx"), tmp_path / "lm.plan",
            ports=engine_signature(graph, config, "tensorrt-10.3"), capabilities=("8.6",),
        )  # fmt: skip


def test_an_old_tensorrt_will_do(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """What reaches the parser is lowered, and its weights lie beside it."""
    seen: dict[str, int] = {}

    class Parser(fakes.Parser):
        def parse(self, model: bytes, path: str) -> bool:
            loaded = onnx.load_from_string(model)
            seen[loaded.graph.name] = loaded.opset_import[0].version
            assert Path(path).with_suffix(".weights").is_file()
            return super().parse(model, path)

    machine.OnnxParser = Parser
    bundle = Bundle.open(tiny_bundle)
    manifest = build_engine(bundle, target_for(bundle), tmp_path / "e").engine.manifest
    assert seen == {"language_model": 20}
    assert manifest.compute_capability == "8.7"
    assert manifest.tools["tensorrt"] == "10.3.0"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (RECIPES["bf16"], "bfloat16, .* export the bundle with --precision fp16 for tensorrt-10.3"),
        (
            Recipe("w", "float16", (Rule("*", Scheme("int8", 128)),)),
            "some weights are int8 with float inputs, which TensorRT supports for int4 only",
        ),
        (
            Recipe("w", "float16", (Rule("*", Scheme("fp8", inputs="maximum")),)),
            "fp8, which is untested with TensorRT 10.3",
        ),
        (Recipe("w", "float16", (Rule("a*", None), Rule("*", Scheme("int4", 32)))), None),
        (Recipe("w", "float16", (Rule("*", Scheme("int8", inputs="maximum")),)), None),
        (RECIPES["fp16"], None),
    ],
)
def test_recipes(tiny_bundle: Path, machine: Any, recipe: Recipe, message: str | None) -> None:
    """What opset 20 and TensorRT 10.3 cannot express is refused before any work, with the fix."""
    bundle = Bundle.open(tiny_bundle)
    bundle.manifest = replace(bundle.manifest, recipe=recipe)
    expected: AbstractContextManager[object] = nullcontext()
    if message:
        expected = pytest.raises(EngineError, match=message)
    with expected:
        target_for(bundle).check(bundle)


def test_a_graph_that_is_not_lowered(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """A pass that finds nothing to change stops the build, and so does what the passes leave."""
    bundle = Bundle.open(tiny_bundle)
    made = target_for(bundle)
    swapped: Any = SimpleNamespace(
        manifest=bundle.manifest, graph=lambda _graph: bundle.graph(Graph.TEXT_HEAD)
    )
    with pytest.raises(LoweringError, match="'primitive_group_norm' changed nothing"):
        made.build(swapped, Graph.VQ_DECODER, tmp_path, Row())
    text = """
    <ir_version: 11, opset_import: ["" : 24]>
    text_head (float[N,64] hidden_states) => (float[N,64] logits)
    { [sum] logits = Einsum <equation = "nk->nk"> (hidden_states) }
    """
    path = tmp_path / "text_head.onnx"
    onnx.save(onnx.parser.parse_model(text), str(path))
    swapped.graph = lambda _graph: path
    with pytest.raises(
        LoweringError, match=r"text_head: TensorRT 10.3 does not take it \(sum: Tens"
    ):
        made.build(swapped, Graph.TEXT_HEAD, tmp_path, Row())
    assert [*tmp_path.iterdir()] == [path]
