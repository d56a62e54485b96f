"""Lowered graphs hold what TensorRT 10.3's parser takes (`test_tensorrt_10_3.py` builds them)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from janus_edge.bundle import Bundle
from janus_edge.compare import difference
from janus_edge.engines.lowering.passes import load, lower, save
from janus_edge.engines.lowering.tensorrt_10_3_operators import check
from janus_edge.engines.tensorrt_10_3 import PASSES
from janus_edge.graphs import Graph, engine_signature, signature
from tests.unit.engines.lowering.primitive_graphs import parsed


@pytest.fixture(scope="module")
def lowered_bundle(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[Graph, Path]:
    """Every graph of the bundle through its passes and through the check."""
    folder, bundle = tmp_path_factory.mktemp("lowered"), Bundle.open(tiny_bundle)
    paths = {}
    for graph in Graph:
        model = load(bundle.graph(graph))
        lower(model, PASSES[graph])
        assert check(model) == ()
        paths[graph] = folder / f"{graph.value}.onnx"
        save(model, paths[graph])
    return paths


def test_every_graph_is_valid_and_has_its_ports(
    tiny_bundle: Path, lowered_bundle: dict[Graph, Path]
) -> None:
    """At opset 20, inputs and outputs have the canonical graph's names, types and shapes. Only the
    language model differs: it returns new rows instead of caches."""
    bundle = Bundle.open(tiny_bundle)
    for graph, path in lowered_bundle.items():
        onnx.checker.check_model(str(path), full_check=True)
        found = onnx.load(str(path), load_external_data=False)
        wanted = onnx.load(str(bundle.graph(graph)), load_external_data=False)
        assert list(found.graph.input) == list(wanted.graph.input)
        if graph is not Graph.LANGUAGE_MODEL:
            assert list(found.graph.output) == list(wanted.graph.output)
        assert [(o.domain, o.version) for o in found.opset_import] == [("", 20)]


def test_the_cache_is_read_once_and_not_written(
    tiny_bundle: Path, lowered_bundle: dict[Graph, Path]
) -> None:
    """One product reads past keys, transposed, and one reads past values; a Shape reads no values. The
    outputs are those of the target's engines."""
    graph = onnx.load(str(lowered_bundle[Graph.LANGUAGE_MODEL]), load_external_data=False).graph
    pasts = [i.name for i in graph.input if i.name.startswith(("past_key", "past_value"))]
    assert pasts
    for past in pasts:
        readers = [n for n in graph.node if past in n.input and n.op_type != "Shape"]
        assert [n.op_type for n in readers] == ["Transpose" if "key" in past else "MatMul"]
    config = Bundle.open(tiny_bundle).manifest.config
    wanted = engine_signature(Graph.LANGUAGE_MODEL, config, "tensorrt-10.3").outputs
    found = [
        (o.name, *(d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim))
        for o in graph.output
    ]
    assert found == [(port.name, *port.shape) for port in wanted]


@pytest.mark.parametrize("graph", [Graph.VISION_ENCODER, Graph.VQ_ENCODER, Graph.VQ_DECODER])
def test_the_values_stay(
    tiny_bundle: Path, lowered_bundle: dict[Graph, Path], graph: Graph
) -> None:
    """Two pictures through the canonical and through the lowered graph: equal up to rounding, codes
    equal altogether. The language model has tests of its own."""
    bundle = Bundle.open(tiny_bundle)
    (port,) = signature(graph, bundle.manifest.config).inputs
    shape = [2 if dim == "N" else int(dim) for dim in port.shape]
    rng = np.random.default_rng(0)
    if port.dtype == "int64":
        feed = rng.integers(0, bundle.manifest.config.vq.codebook_size, shape)
    else:
        feed = rng.uniform(-1, 1, shape).astype(np.float32)
    paths = bundle.graph(graph), lowered_bundle[graph]
    sessions = [ort.InferenceSession(p, providers=["CPUExecutionProvider"]) for p in paths]
    (wanted,), (found,) = (s.run(None, {port.name: feed}) for s in sessions)
    assert found.dtype == wanted.dtype
    if graph is Graph.VQ_ENCODER:
        np.testing.assert_array_equal(found, wanted)
    else:
        assert difference(found, wanted, "float32")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(float[N,4] x, float[4] a) => (float[N,4] y) { [n] y = RMSNormalization (x, a) }", "n: TensorRT 10.3 has no operator RMSNormalization"),
        ("(float[N,4,S] x, float[4] a) => (float[N,4,S] y) { [n] y = GroupNormalization <num_groups = 2> (x, a, a) }", "n: TensorRT 10.3 has no operator GroupNormalization"),
        ("(double[N,4] x) => (double[N,4] y) { [n] y = Sigmoid (x) }", "n: Sigmoid takes no DOUBLE ('x')"),
        ("(float[N,4] x, int64[1] a) => (float[N] y) { [n] y = Squeeze (x, a) }", "n: input 1 of Squeeze is not constant"),
        ('(float[4,4] x, int64[2,1] i, float[2,4] u) => (float[4,4] y) { [n] y = ScatterND <reduction = "none"> (x, i, u) }', "n: ScatterND has the attribute reduction"),
        ('(float[1,1,4,4] x, float[4] s) => (float[1,1,H,W] y) { [n] y = Resize <mode = "cubic"> (x, , s) }', "n: Resize has mode = cubic"),
    ],
)  # fmt: skip
def test_what_the_parser_does_not_take(text: str, reason: str) -> None:
    """Each of them is named, in a graph of an opset that the parser documents or not."""
    model = parsed(f"g {text}")
    assert check(model) == ("g: opset 24 is not among 9 to 20", reason)


@pytest.mark.parametrize(
    ("weights", "opset", "problems"),
    [
        ("int4", 21, ()),
        ("int4", 22, ("g: opset 22 is not among 9 to 21",)),
        ("int8", 21, ("g: opset 21 is not among 9 to 20", "w: blocks of INT8: TensorRT 10.3 takes blocks of int4 only; use the recipe int4-weight or int8")),
    ],
)  # fmt: skip
def test_blocked_weights(weights: str, opset: int, problems: tuple[str, ...]) -> None:
    """Blocks of int4 pass at opset 21, those of int8 do not."""
    text = f"""
    g (float[B,64] x, {weights}[64,4] w) => (float[B,4] y)
    <float[2,4] s = {{1, 1, 1, 1, 1, 1, 1, 1}}>
    {{
        [w] d = DequantizeLinear <axis = 0, block_size = 32> (w, s)
        [m] y = MatMul (x, d)
    }}
    """
    model = parsed(text)
    model.opset_imports[""] = opset
    assert check(model) == problems


@pytest.mark.parametrize(
    ("zero_point", "problems"),
    [("int8 z = {0}", 0), ("int8 z = {3}", 2), ("uint8 z = {0}", 1)],
)
def test_zero_points(zero_point: str, problems: int) -> None:
    """Symmetric int8 alone; an asymmetric pair is named twice, an unsigned one where it is read."""
    text = f"""
    g (float[B,4] x) => (float[B,4] y)
    <float s = {{0.5}}, {zero_point}>
    {{
        [q] q = QuantizeLinear (x, s, z)
        [d] y = DequantizeLinear (q, s, z)
    }}
    """
    model = parsed(text)
    model.opset_imports[""] = 20
    assert len(check(model)) == problems
