"""NVIDIA's parser and builder on every graph; TensorRT-RTX needs no GPU for that."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import onnx
import pytest

from janus_edge.bundle import Bundle
from janus_edge.engines.tensorrt.api import TensorRT, load
from janus_edge.engines.tensorrt.build import BuiltPlan, build_plan
from janus_edge.engines.tensorrt.dump import dump_network
from janus_edge.engines.tensorrt.messages import Messages
from janus_edge.engines.tensorrt.network import parse_graph
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph, signature
from tests.unit.engines.tensorrt.parsed_networks import lowered

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

CAPABILITY = "8.0"


@pytest.fixture(scope="module")
def rtx() -> TensorRT:
    return load("tensorrt-rtx")


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="module")
def profile(bundle: Bundle) -> Profile:
    return Profile.of(bundle.manifest.config, capacity=32)


@pytest.fixture(scope="module")
def plans(
    bundle: Bundle, profile: Profile, rtx: TensorRT, tmp_path_factory: pytest.TempPathFactory
) -> dict[Graph, BuiltPlan]:
    """Every graph built once, in float32."""
    folder, config, made = tmp_path_factory.mktemp("plans"), bundle.manifest.config, {}
    for graph in Graph:
        with lowered(bundle.graph(graph), graph, config, folder) as path:
            out = folder / f"{graph.value}.plan"
            made[graph] = build_plan(
                path, graph, config, profile, rtx, out, capabilities=(CAPABILITY,)
            )
    return made


@pytest.mark.parametrize("graph", Graph)
def test_every_graph_builds(bundle: Bundle, plans: dict[Graph, BuiltPlan], graph: Graph) -> None:
    """The plan is whole: as long as was said, and no shorter than the weights."""
    built = plans[graph]
    assert built.path.stat().st_size == built.size > built.weight_bytes
    assert built.device_bytes is not None
    assert built.seconds > 0
    assert built.timing_cache is None
    stored = sum(
        (bundle.path / name).stat().st_size for name in bundle.manifest.graphs[graph.value].weights
    )
    assert built.weight_bytes >= stored * 0.9  # files are padded, small constants are elsewhere
    assert not [w for w in built.warnings if "Int64 binding" not in w]


def test_weights_exist_once(plans: dict[Graph, BuiltPlan]) -> None:
    """The language model's two profiles share its weights."""
    built = plans[Graph.LANGUAGE_MODEL]
    assert built.device_weight_bytes is not None
    assert built.weight_bytes <= built.device_weight_bytes < 1.5 * built.weight_bytes


def test_precisions(plans: dict[Graph, BuiltPlan]) -> None:
    """A float32 graph multiplies in float32; attention works on the updated cache."""
    found = plans[Graph.LANGUAGE_MODEL].precisions
    assert [name for name in found if name.startswith("MATRIX")] == ["MATRIX_MULTIPLY FLOAT"]
    assert found["KV_CACHE_UPDATE FLOAT"] == 2 * found["ATTENTION_INPUT FLOAT"] > 0


def test_nothing_else_is_left(plans: dict[Graph, BuiltPlan]) -> None:
    folder = plans[Graph.TEXT_HEAD].path.parent
    assert {p.name for p in folder.iterdir()} == {f"{g.value}.plan" for g in Graph}


def test_dump(bundle: Bundle, profile: Profile, rtx: TensorRT, tmp_path: Path) -> None:
    """Every port of the graph table, the cache with its length, and every layer numbered."""
    graph, config = Graph.LANGUAGE_MODEL, bundle.manifest.config
    with lowered(bundle.graph(graph), graph, config, tmp_path) as path:
        parsed = parse_graph(rtx, path, graph, config, profile, Messages())
    lines = dump_network(parsed.network).splitlines()
    named = [line.split()[1] for line in lines if re.match("(in|out)put ", line)]
    ports = signature(graph, config)
    assert sorted(named) == sorted(p.name for p in (*ports.inputs, *ports.outputs))
    heads, size = config.language.kv_heads, config.language.head_dim
    assert f"input  past_key.0 FLOAT[?,{heads},32,{size}]" in lines
    numbers = [int(line.split()[0]) for line in lines if line[0] == " "]
    assert numbers == [*range(parsed.network.num_layers)]
    assert sum(" KV_CACHE_UPDATE " in line for line in lines) == 2 * config.language.layers


def test_graph_that_does_not_parse(bundle: Bundle, rtx: TensorRT, tmp_path: Path) -> None:
    """The operator, the node and TensorRT's reason."""
    text = """
    <ir_version: 11, opset_import: ["" : 24]>
    text_head (float[N,64] hidden_states) => (float[N,64] logits)
    {
        [quantise] q, scale, zero = DynamicQuantizeLinear (hidden_states)
        [back] logits = DequantizeLinear (q, scale, zero)
    }
    """
    path, out = tmp_path / "text_head.onnx", tmp_path / "out" / "text_head.plan"
    onnx.save(onnx.parser.parse_model(text), str(path))
    config = bundle.manifest.config
    with pytest.raises(
        EngineError,
        match=r"TensorRT-RTX .* cannot parse the graph \(DynamicQuantizeLinear quantise: ",
    ):
        build_plan(path, Graph.TEXT_HEAD, config, Profile.of(config), rtx, out)
    assert not out.parent.exists()


def test_workspace(bundle: Bundle, profile: Profile, rtx: TensorRT, tmp_path: Path) -> None:
    """The builder keeps to the limit. It refuses one that is too small for every kernel, with an error
    that names the option, and builds with 512 MiB."""
    graph, config = Graph.VQ_DECODER, bundle.manifest.config
    for size in (512 << 20, 1):
        out = tmp_path / f"{size}.plan"
        with nullcontext() if size > 1 else pytest.raises(EngineError, match="raise --workspace"):
            build_plan(
                bundle.graph(graph), graph, config, profile, rtx, out,
                capabilities=(CAPABILITY,), workspace=size,
            )  # fmt: skip
        assert out.exists() == (size > 1)


def test_graph_that_does_not_build(bundle: Bundle, rtx: TensorRT, tmp_path: Path) -> None:
    """A network whose shapes cannot be: the builder's words, the fix, and no file."""
    text = """
    <ir_version: 11, opset_import: ["" : 24]>
    text_head (float[N,64] hidden_states) => (float[N,64] logits)
    <int64[2] three = {3, 64}>
    { [rows] logits = Reshape (hidden_states, three) }
    """
    path, out = tmp_path / "text_head.onnx", tmp_path / "out" / "text_head.plan"
    onnx.save(onnx.parser.parse_model(text), str(path))
    config = bundle.manifest.config
    with pytest.raises(EngineError, match=r"cannot build the engine \(.*rows.*\); "):
        build_plan(
            path, Graph.TEXT_HEAD, config, Profile.of(config), rtx, out, capabilities=(CAPABILITY,)
        )
    assert not [*out.parent.iterdir()]
