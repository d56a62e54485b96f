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
from janus_edge.errors import EngineError, InputError
from janus_edge.graphs import Graph, signature
from janus_edge.recipe import Recipe, Rule, Scheme
from tests.unit.cli.conftest import Run
from tests.unit.engines.tensorrt.fakes import PLAN, fake_tensorrt

RTX = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx has no wheel for this machine",
)
ORIN = Gpu("Orin", "8.7", "12.6")
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
    **options: Any,
) -> BuildResult:
    bundle = Bundle.open(folder)
    made = target(name, bundle.manifest.config, TargetOptions(**options))
    return build_engine(bundle, made, out, cache=cache)


def refused(bundle: Path, recipe: Recipe, name: str) -> None:
    """Check a bundle as if it were of ``recipe``."""
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
        assert (told.workspace_bytes, told.device_weight_bytes, told.passes) == (640, 6400, {})
        assert told.precisions == {"MATRIX_MULTIPLY HALF": 1}
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


def test_weight_streaming(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """Asked of the language model alone, recorded, told by the command that builds it again, and
    another engine to the cache; without it there is no trace of it."""
    cache = EngineCache(tmp_path / "cache")
    made = build(tiny_bundle, tmp_path / "e", cache=cache, weight_streaming="2k")
    asked = ["WEIGHT_STREAMING" in options.flags for options in machine.made]
    assert asked == [graph is Graph.LANGUAGE_MODEL for graph in Graph]
    assert Engine.open(tmp_path / "e").manifest.options == {"weight-streaming": "2048"}
    assert "--weight-streaming 2048 --force" in made.engine.rebuild_command
    plain = build(tiny_bundle, tmp_path / "f", cache=cache)
    assert not plain.cached
    assert plain.engine.manifest.options == {}
    assert "--weight-streaming" not in plain.engine.rebuild_command
    assert build(tiny_bundle, tmp_path / "g", cache=cache, weight_streaming="2048").cached


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


def test_a_failed_build_leaves_nothing(tiny_bundle: Path, tmp_path: Path, machine: Any) -> None:
    """Neither plans nor an entry of the cache."""
    machine.OnnxParser.parse_from_file, before = (
        lambda *_: False,
        machine.OnnxParser.parse_from_file,
    )
    try:
        with pytest.raises(EngineError, match="cannot parse the graph"):
            build(tiny_bundle, tmp_path / "e", cache=EngineCache(tmp_path / "cache"))
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
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "cache"))
    command = ["--target", "tensorrt-rtx", "--profile", "capacity=32"]
    done = janus_edge("build", tiny_bundle, "a", *command)
    assert done.code == 0, done.err
    assert "MiB, tensorrt-rtx; built in " in done.out
    engine = Engine.open("a")
    assert engine.manifest.compute_capability == "8.0, 8.6, 8.9, 12.0"
    assert engine.manifest.tools.keys() == {"janus-edge", "onnx", "tensorrt-rtx"}
    language_model = engine.manifest.builds["language_model"]
    assert language_model.precisions["KV_CACHE_UPDATE FLOAT"] == 4
    assert language_model.device_weight_bytes
    assert language_model.workspace_bytes
    shown = janus_edge("info", "a").out
    assert "tensorrt-rtx, compute capability 8.0, 8.6, 8.9, 12.0" in shown
    assert "rows 1 to 2 (2), new tokens 1 to 32 (32), capacity 32 to 32 (32)" in shown
    assert "all as written" in janus_edge("verify", "a").out
    assert "from the cache" in janus_edge("build", tiny_bundle, "b", *command).out
    program, *words = shlex.split(engine.rebuild_command)
    assert program == "janus-edge"
    assert "from the cache" in janus_edge(*words).out, "it names the very same engine"
    larger = [word.replace("rows=2:2", "rows=2:4") for word in words]
    done = janus_edge(*larger, "--json")
    data = json.loads(done.out)
    assert (data["cached"], data["profiles"][0]["rows"]["largest"]) == (False, 4)


@RTX
def test_rtx_streams_weights(tiny_bundle: Path, tmp_path: Path) -> None:
    """TensorRT-RTX itself builds such an engine, with a window's profile besides."""
    made = build(
        tiny_bundle, tmp_path / "e", "tensorrt-rtx", weight_streaming="4K",
        profile="window=8,capacity=32", capabilities=("8.9",),
    ).engine.manifest  # fmt: skip
    assert made.options == {"weight-streaming": "4096"}
    assert [profile.new_tokens.largest for profile in made.profiles] == [32, 8, 1]


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
        (
            ["--target", "ort-cpu", "--weight-streaming", "auto"],
            2,
            "--weight-streaming is for Tens",
        ),
        (
            ["--target", "tensorrt", "--weight-streaming", "half"],
            2,
            "like 512M or 2G, or auto; fou",
        ),
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
