"""The targets `tensorrt` and `tensorrt-rtx`: what they write, what they refuse, what they keep.

TensorRT-RTX builds for real, without a GPU; TensorRT is a fake, and so is the GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bundle import Bundle
from janus_edge.cuda_driver import Gpu
from janus_edge.engine import Engine
from janus_edge.engine_manifest import GraphBuild, Range
from janus_edge.engines import tensorrt_target
from janus_edge.engines.build import BuildResult, build_engine
from janus_edge.engines.cache import EngineCache
from janus_edge.engines.targets import TargetOptions, target
from janus_edge.engines.tensorrt import api
from janus_edge.engines.tensorrt.own_process import build_apart
from janus_edge.engines.tensorrt.request import build_here
from janus_edge.engines.tensorrt_target import PASSES, TensorRTTarget
from janus_edge.errors import EngineError, InputError
from janus_edge.graphs import Graph, signature
from janus_edge.progress import silent
from janus_edge.recipe import Recipe, Rule, Scheme
from tests.unit.cli.conftest import Run
from tests.unit.engines.tensorrt.fakes import PLAN, fake_tensorrt

RTX = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx has no wheel for this machine",
)
ORIN = Gpu("Orin", "8.7", "12.6")
FP8 = Recipe("r", "float32", (Rule("*", Scheme("fp8", inputs="maximum")),))
ASYMMETRIC = Recipe("r", "float32", (Rule("*", Scheme("int4", 32, symmetric=False)),))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with a GPU and the fake TensorRT, which is returned; the GPU is `machine.gpu`."""
    tensorrt = fake_tensorrt(recent=True)
    tensorrt.module.gpu = ORIN
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt.module)
    monkeypatch.setattr(tensorrt_target, "first_gpu", lambda: tensorrt.module.gpu)
    monkeypatch.setattr(api, "why_no_gpu", lambda: None)
    return tensorrt.module


def build(
    folder: Path,
    out: Path,
    name: str = "tensorrt",
    cache: EngineCache | None = None,
    here: bool = True,
    **options: Any,
) -> BuildResult:
    bundle = Bundle.open(folder)
    made = target(name, bundle.manifest.config, TargetOptions(**options))
    assert isinstance(made, TensorRTTarget)
    if here:
        made.build_plan = build_here
    return build_engine(bundle, made, out, cache=cache)


def refused(bundle: Path, recipe: Recipe, name: str) -> None:
    """Check a bundle as if it had ``recipe``; the check may refuse it."""
    opened = Bundle.open(bundle)
    opened.manifest = replace(opened.manifest, recipe=recipe)
    target(name, opened.manifest.config).check(opened)


def test_what_an_engine_holds(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """A plan per graph, and in the manifest what the builder told and what it is good for."""
    out = tmp_path / "e"
    manifest = build(tiny_bundle, out, profile="rows=4,capacity=32").engine.manifest
    opened = Engine.open(out)
    opened.verify()
    assert opened.manifest == manifest
    for graph in Graph:
        assert opened.graph(graph) == out / "graphs" / f"{graph.value}.plan"
        assert opened.graph(graph).read_bytes() == PLAN
        told = manifest.builds[graph.value]
        assert (told.workspace_bytes, told.device_weight_bytes) == (640, 6400)
        assert told.passes.keys() == {step.name for step in PASSES[graph]}
    assert "hidden_states is HALF, and FLOAT in the graph" in manifest.builds["text_head"].notes
    told = manifest.builds["language_model"]
    assert told.precisions["MATRIX_MULTIPLY HALF"] == 2 * 4  # joined: q, k and v; gate and up
    assert (told.attention, manifest.builds["text_head"].attention) == ("fused", "")
    weights = Path(tiny_bundle, "graphs", "language_model.weights").stat().st_size
    assert manifest.builds["language_model"].weight_bytes >= 0.9 * weights
    assert (manifest.target, manifest.compute_capability) == ("tensorrt", "8.7")
    assert manifest.tools.items() >= {
        ("tensorrt", "10.3.0"), ("gpu", "Orin"), ("cuda-driver", "12.6"),
    }  # fmt: skip
    prefill, decode = manifest.profiles
    assert (prefill.rows, prefill.new_tokens) == (Range(1, 4, 4), Range(1, 32, 32))
    assert (decode.new_tokens, decode.capacity) == (Range(1, 1, 1), Range(32, 32, 32))
    assert sorted(p.name for p in out.iterdir()) == [
        "graphs", "manifest.json", "text_embeddings.bin", "tokenizer.json",
    ]  # fmt: skip


def test_the_shapes_reach_the_builder(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """The profiles of every graph, and the cache's length before it is parsed."""
    build(tiny_bundle, tmp_path / "e", profile="rows=4,capacity=32", dump=tmp_path / "networks")
    shapes = dict(zip(Graph, ([p.shapes for p in o.profiles] for o in machine.made), strict=True))
    assert shapes[Graph.TEXT_HEAD] == [{"hidden_states": ((1, 64), (4, 64), (4, 64))}]
    assert shapes[Graph.GUIDED_SAMPLER][0]["noise"] == ((1, 128), (2, 128), (2, 128))
    assert [p["inputs_embeds"][2] for p in shapes[Graph.LANGUAGE_MODEL]] == [
        (4, 32, 64),
        (4, 1, 64),
    ]
    dumped = tmp_path / "networks" / "language_model.txt"
    assert "input  past_key.0 HALF[?,4,32,16]" in dumped.read_text("utf-8")
    assert len([*dumped.parent.iterdir()]) == len(Graph)


def test_several_plans(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """The language model is built once for each capacity, and once more for each split phase; the other
    graphs are built once. The engine names all plans, and so does the command that builds it again."""
    words = "rows=4,prefill=20,capacity=32,chat=48,split=1"
    made = build(tiny_bundle, tmp_path / "e", profile=words, dump=tmp_path / "networks").engine
    manifest = Engine.open(tmp_path / "e").manifest
    assert manifest == made.manifest
    names = [
        "language_model-prefill", "language_model-decode", "language_model-chat-prefill",
        "language_model-chat-decode",
    ]  # fmt: skip
    assert [plan.name for plan in manifest.plans] == names
    assert [plan.capacity for plan in manifest.plans] == [32, 32, 48, 48]
    assert manifest.graphs["language_model"].file == "graphs/language_model-prefill.plan"
    assert len(machine.made) == len(Graph) - 1 + 4
    first = [*Graph].index(Graph.LANGUAGE_MODEL)
    shapes = [[p.shapes["inputs_embeds"] for p in o.profiles] for o in machine.made[first:][:4]]
    assert shapes == [
        [((4, 1, 64), (4, 20, 64), (4, 20, 64))], [((4, 1, 64),) * 3],
        [((4, 1, 64), (4, 20, 64), (4, 20, 64))], [((4, 1, 64),) * 3],
    ]  # fmt: skip
    for name, capacity in zip(names, (32, 32, 48, 48), strict=True):
        dumped = (tmp_path / "networks" / f"{name}.txt").read_text("utf-8")
        assert f"input  past_key.0 HALF[?,4,{capacity},16]" in dumped
    assert "--profile rows=4:4,prefill=20:20,capacity=32,chat=48,split=1" in made.rebuild_command


def test_the_timing_cache(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """Each graph starts from what the one before left, and the next build from the last one's."""
    timings = tmp_path / "cache"
    build(tiny_bundle, tmp_path / "a", timings=timings)
    (kept,) = timings.iterdir()
    assert kept.read_bytes() == b"mine, longer"
    assert [o.cache for o in machine.made] == [b"", *[b"mine, longer"] * (len(Graph) - 1)]
    kept.write_bytes(b"mine, from before")
    build(tiny_bundle, tmp_path / "b", timings=timings, profile="rows=4")
    assert machine.made[len(Graph)].cache == b"mine, from before"
    kept.write_bytes(b"damaged")
    build(tiny_bundle, tmp_path / "c", timings=timings, profile="rows=6")
    assert kept.read_bytes() == b"mine, longer"
    machine.gpu = Gpu("Thor", "11.0", "13.0")
    build(tiny_bundle, tmp_path / "d", timings=timings)
    assert len([*timings.iterdir()]) == 2


def test_what_is_another_engine(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """The cache stands in for the same GPU, version and profile, and for no other."""
    cache = EngineCache(tmp_path / "cache")

    def cached(name: str, **options: Any) -> bool:
        return build(tiny_bundle, tmp_path / name, cache=cache, **options).cached

    assert [cached("a"), cached("b")] == [False, True]
    assert [cached("c", profile="rows=2:4"), cached("d", profile="rows=3:4")] == [False, False]
    machine.gpu = replace(ORIN, name="Orin Nano")
    assert not cached("e")
    machine.gpu = ORIN
    machine.__version__ = "10.3.1"
    assert not cached("f")
    machine.__version__ = "10.3.0"
    assert cached("g")


def test_workspace(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """The limit reaches every build, is recorded, and is named by the rebuild command. The cache treats
    another limit as another engine. A discrete GPU has no limit unless one is asked for."""
    cache = EngineCache(tmp_path / "cache")
    made = build(tiny_bundle, tmp_path / "e", cache=cache, workspace="2g").engine
    assert [options.limits for options in machine.made] == [{"WORKSPACE": 2 << 30}] * len(Graph)
    assert made.manifest.options == {"workspace": "2G"}
    assert "--workspace 2G --force" in made.rebuild_command
    plain = build(tiny_bundle, tmp_path / "f", cache=cache)
    assert (plain.cached, plain.engine.manifest.options) == (False, {})
    assert machine.made[-1].limits == {}
    assert build(tiny_bundle, tmp_path / "g", cache=cache, workspace="2048M").cached


def test_workspace_of_an_integrated_gpu(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """Its memory is the machine's, so TensorRT's own limit, which is all of it, is not used."""
    machine.gpu = replace(ORIN, integrated=True)
    manifest = build(tiny_bundle, tmp_path / "e").engine.manifest
    assert machine.made[0].limits == {"WORKSPACE": 512 << 20}
    assert manifest.options == {"workspace": "512M"}
    build(tiny_bundle, tmp_path / "f", workspace="1G")
    assert machine.made[-1].limits == {"WORKSPACE": 1 << 30}


def test_without_a_driver(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, janus_edge: Run
) -> None:
    """One line with the fix, and nothing is left: neither an engine nor a cache."""

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(recent=True).module)
    monkeypatch.setattr(ctypes, "CDLL", absent)
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "cache"))
    for name in ("tensorrt", "tensorrt-10.3"):
        done = janus_edge("build", tiny_bundle, "e", "--target", name)
        assert done.code == EngineError.exit_code
        assert done.error.startswith("TensorRT 10.3.0 builds on the GPU that it builds for, and no")
        assert "libcuda.so.1 was not found); install it" in done.error
        assert "--target tensorrt-rtx, which needs no GPU" in done.error
    assert [p.name for p in tmp_path.iterdir()] == ["here"]
    assert [*Path().iterdir()] == []


def test_too_old(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """A TensorRT whose parser does not know the canonical graphs names the target that lowers them."""
    del machine.LayerType
    with pytest.raises(
        EngineError, match="TensorRT 10.3.0 has no attention .*tensorrt-10.3, or ins"
    ):
        build(tiny_bundle, tmp_path / "e")
    assert machine.made == []


def test_capabilities_of_this_machine(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """TensorRT builds for the GPU that it runs on."""
    with pytest.raises(
        InputError, match="this machine's GPU only: leave out the compute capability"
    ):
        build(tiny_bundle, tmp_path / "e", capabilities=("8.9",))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx", "tensorrt-10.3"])
def test_zero_points(tiny_bundle: Path, name: str) -> None:
    """TensorRT's weights are symmetric: refused before anything is imported or built."""
    with pytest.raises(EngineError, match=r"zero points, .* quantise the float bundle with --symm"):
        refused(tiny_bundle, ASYMMETRIC, name)


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx", "tensorrt-10.3"])
def test_int8_caches(tiny_bundle: Path, name: str) -> None:
    """Never tried with TensorRT: refused before anything is imported or built."""
    opened = Bundle.open(tiny_bundle)
    manifest, name_of_graph = opened.manifest, Graph.LANGUAGE_MODEL.value
    ports = signature(Graph.LANGUAGE_MODEL, manifest.config, "int8")
    entry = replace(manifest.graphs[name_of_graph], inputs=ports.inputs, outputs=ports.outputs)
    opened.manifest = replace(
        manifest,
        recipe=Recipe("r", "float32", (), "int8"),
        graphs={**manifest.graphs, name_of_graph: entry},
    )
    with pytest.raises(EngineError, match=r"KV cache is int8, .* without -int8-cache"):
        target(name, manifest.config).check(opened)


@pytest.mark.parametrize("capabilities", [("8.6",), ("8.0", "12.0"), ()])
@RTX
def test_fp8_on_older_gpus(tiny_bundle: Path, capabilities: tuple[str, ...]) -> None:
    """fp8 is refused before any work, with what to build for; the usual capabilities include older
    ones."""
    opened = Bundle.open(tiny_bundle)
    opened.manifest = replace(opened.manifest, recipe=FP8)
    options = TargetOptions(capabilities=capabilities)
    with pytest.raises(
        EngineError,
        match=r"fp8, which needs compute capability 8.9 or newer, not 8.*: build only for such",
    ):
        target("tensorrt-rtx", opened.manifest.config, options).check(opened)
    able = TargetOptions(capabilities=("8.9", "12.0"))
    target("tensorrt-rtx", opened.manifest.config, able).check(opened)


def test_fp8_on_this_gpu(tiny_bundle: Path, machine: Any) -> None:
    """TensorRT builds for the machine's GPU: an Orin (8.7) has no fp8 and a Thor has."""
    with pytest.raises(EngineError, match="needs compute capability 8.9 or newer, not 8.7"):
        refused(tiny_bundle, FP8, "tensorrt")
    machine.gpu = Gpu("Thor", "11.0", "13.0")
    refused(tiny_bundle, FP8, "tensorrt")


def test_int8_weights_alone(tiny_bundle: Path, machine: Any) -> None:
    """Full TensorRT refuses them, and names the recipes that it has and TensorRT-RTX, which takes them."""
    recipe = Recipe("r", "float32", (Rule("*", Scheme("int8", 128)),))
    for name in ("tensorrt", "tensorrt-10.3"):
        with pytest.raises(EngineError, match=r"int4 only: .* or build for tensorrt-rtx"):
            refused(tiny_bundle, recipe, name)


def test_unusual_blocks(tiny_bundle: Path, machine: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A bundle whose int4 has blocks of 32 is built, and the log says what TensorRT documents."""
    for block, said in ((128, False), (32, True)):
        caplog.clear()
        refused(
            tiny_bundle, Recipe("r", "float32", (Rule("*", Scheme("int4", block)),)), "tensorrt"
        )
        warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert bool(warned) is said
        assert all(
            "in blocks of 32, but TensorRT documents only 64 and 128" in text for text in warned
        )


def test_a_failed_build_leaves_nothing(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """Neither plans nor an entry of the cache; the error names the bundle's graph, which stays."""
    machine.OnnxParser.parse_from_file, before = (
        lambda *_: False,
        machine.OnnxParser.parse_from_file,
    )
    try:
        with pytest.raises(EngineError, match="cannot parse the graph") as failure:
            build(tiny_bundle, tmp_path / "e", cache=EngineCache(tmp_path / "cache"))
        graph = Bundle.open(tiny_bundle).graph(next(iter(Graph)))
        assert str(failure.value).startswith(f"{graph}: ")
        assert ".lowered-" not in str(failure.value)
    finally:
        machine.OnnxParser.parse_from_file = before
    assert [*tmp_path.iterdir()] == []


def test_sizes_are_not_negative() -> None:
    """What a builder tells of a graph is checked when it is written and when it is read."""
    with pytest.raises(ValueError, match="device_weight_bytes must not be negative"):
        GraphBuild(1, None, {}, device_weight_bytes=-1)


@RTX
def test_tensorrt_rtx(
    janus_edge: Run, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line: built ahead of time, shown, checked, taken from the cache; another
    profile is built anew, by the very command that an engine names."""
    monkeypatch.setattr(tensorrt_target, "build_apart", build_here)  # 24 processes take long
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "cache"))
    command = ["--target", "tensorrt-rtx", "--profile", "capacity=32,chat=64"]
    done = janus_edge("build", tiny_bundle, "a", *command)
    assert done.code == 0, done.err
    assert "MiB, tensorrt-rtx; built in " in done.out
    assert "language_model has 2 plans, and each holds all of its weights" in done.out
    engine = Engine.open("a")
    assert engine.manifest.compute_capability == "8.0, 8.6, 8.9, 12.0"
    assert engine.manifest.tools.keys() == {"janus-edge", "onnx", "onnx-ir", "tensorrt-rtx"}
    language_model = engine.manifest.builds["language_model"]
    assert language_model.precisions["KV_CACHE_UPDATE FLOAT"] == 4
    assert language_model.device_weight_bytes
    assert language_model.workspace_bytes
    shown = janus_edge("info", "a").out
    assert "tensorrt-rtx, compute capability 8.0, 8.6, 8.9, 12.0" in shown
    for line in (
        "language_model: capacity 32, rows 1 to 2 (2), new tokens 1 to 32 (32); 1",
        "language_model-chat: capacity 64, rows 1 to 2 (2), new tokens 1 to 64 (64); 1",
    ):
        assert line in done.out
        assert line in shown
    assert "  and  language_model-chat  " in shown
    assert "all as written" in janus_edge("verify", "a").out
    assert "from the cache" in janus_edge("build", tiny_bundle, "b", *command).out
    program, *words = shlex.split(engine.rebuild_command)
    assert program == "janus-edge"
    assert "from the cache" in janus_edge(*words).out, "it names the very same engine"
    larger = [word.replace("rows=2:2", "rows=2:4") for word in words]
    done = janus_edge(*larger, "--json")
    data = json.loads(done.out)
    rows = [plan["profiles"][0]["rows"]["largest"] for plan in data["plans"]]
    assert (data["cached"], rows) == (False, [4, 4])


@RTX
@pytest.mark.parametrize("split", [0, 1])
def test_rtx_builds_several_plans(tiny_bundle: Path, tmp_path: Path, split: int) -> None:
    """TensorRT-RTX itself builds the language model for each capacity, with prefill and decode apart.
    The weights stay the same, and a longer cache takes more scratch memory."""
    bundle = Bundle.open(tiny_bundle)
    words = f"rows=4,capacity=32,chat=256,split={split}"
    options = TargetOptions(profile=words, capabilities=("8.9",))
    made = target("tensorrt-rtx", bundle.manifest.config, options)
    with silent("language_model") as row:
        built = made.build(bundle, Graph.LANGUAGE_MODEL, tmp_path, row)
    phases = ("-prefill", "-decode") if split else ("",)
    names = [f"language_model{chat}{phase}" for chat in ("", "-chat") for phase in phases]
    assert [plan.name for plan in built.plans] == names
    assert (built.entry.file, built.build) == (built.plans[0].file, built.plans[0].build)
    for plan in built.plans:
        assert (tmp_path / plan.file).stat().st_size > 10_000
        assert plan.build.precisions["KV_CACHE_UPDATE FLOAT"] == 4
        assert plan.rows == (Range(4, 4, 4) if split else Range(1, 4, 4))
    assert len({plan.build.weight_bytes for plan in built.plans}) == 1
    loaded = [plan.build.device_weight_bytes or 0 for plan in built.plans]
    assert 0 < max(loaded) < 1.01 * min(loaded)  # constants of the shapes differ
    scratch = [plan.build.workspace_bytes or 0 for plan in built.plans]
    assert scratch[0] < scratch[len(phases)]  # both with the prefill
    assert sorted(p.name for p in (tmp_path / "graphs").iterdir()) == sorted(
        f"{name}.plan" for name in names
    )


@RTX
def test_a_process_for_each_graph(tiny_bundle: Path, tmp_path: Path) -> None:
    """This is the default; TensorRT-RTX builds in another process what it builds here."""
    bundle, graph = Bundle.open(tiny_bundle), Graph.IMAGE_HEAD
    options = TargetOptions(profile="capacity=32", capabilities=("8.9",))
    made = target("tensorrt-rtx", bundle.manifest.config, options)
    assert isinstance(made, TensorRTTarget)
    assert made.build_plan is build_apart
    with silent("") as row:
        apart = made.build(bundle, graph, tmp_path / "apart", row)
        made.build_plan = build_here
        assert made.build(bundle, graph, tmp_path / "here", row) == apart
    sizes = [(tmp_path / name / apart.entry.file).stat().st_size for name in ("apart", "here")]
    assert sizes[0] == sizes[1] > 0


@RTX
def test_rtx_capabilities(tiny_bundle: Path, tmp_path: Path) -> None:
    """In order and once, however they are given; an unknown one is refused before any work."""
    config = Bundle.open(tiny_bundle).manifest.config
    options = TargetOptions(capabilities=("12.0", "8.6", "12.0"))
    assert target("tensorrt-rtx", config, options).compute_capability == "8.6, 12.0"
    with pytest.raises(
        InputError, match="Jetson Orin.: choose from 7.5, 8.0, .*, 12.1, or .*tensorrt-10"
    ):
        build(tiny_bundle, tmp_path / "e", "tensorrt-rtx", capabilities=("8.7",))
    assert [*tmp_path.iterdir()] == []


def test_rebuilding_for_another_gpu(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """Ahead of time the command names the GPU; TensorRT's builds for the one that it finds."""
    engine = build(tiny_bundle, tmp_path / "e").engine
    assert "--compute-capability" not in engine.rebuild_command_for("8.9")
    engine.manifest = replace(engine.manifest, target="tensorrt-rtx")
    assert "--compute-capability 8.7 --force" in engine.rebuild_command
    assert "--compute-capability 8.9 --force" in engine.rebuild_command_for("8.9")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "build needs --target NAME: choose one of ort-cpu, "),
        (["--target", "abacus"], 2, "unknown target 'abacus': choose one of ort-cpu, "),
        (["--target", "tensorrt-rtx", "--profile", "rows=1"], 2, "a picture takes two"),
        (
            ["--target", "tensorrt-rtx", "--profile", "capacity=1025"],
            2,
            "from 1 to 1024, the model",
        ),
        (["--target", "ort-cpu", "--profile", "rows=2"], 2, "--profile is for TensorRT"),
        (["--target", "ort-cpu", "--workspace", "1G"], 2, "--workspace is for TensorRT"),
        (["--target", "tensorrt", "--workspace", "half"], 2, "such as 512M or 2G; found 'half'"),
    ],
)
def test_what_is_refused(
    janus_edge: Run, tiny_bundle: Path, words: list[str], code: int, message: str
) -> None:
    """Each says what is wrong, before anything is built."""
    done = janus_edge("build", tiny_bundle, "e", *words)
    assert done.code == code
    assert message in done.error
    assert [*Path().iterdir()] == []
