"""NVIDIA's parser and builder on every graph in every precision: TensorRT-RTX needs no GPU for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.operands import operands
from janus_edge.calib.recipes import Changes, quantised_recipe
from janus_edge.calib.statistics import InputStatistics
from janus_edge.calib.target_recipe import recipe_for
from janus_edge.compare import difference
from janus_edge.engines.tensorrt.api import load
from janus_edge.engines.tensorrt.build import BuiltPlan, build_plan
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph
from janus_edge.target_limits import capability_refusal
from tests.unit.engines.tensorrt.parsed_networks import lowered

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

RECIPES = ["fp16", "bf16", "int8", "fp8", "int8-weight", "int4-weight", "nvfp4-weight"]
CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")

#: The GPUs among these that compute with a recipe's types.
ABLE = {"fp8": ("8.9", "12.0"), "nvfp4-weight": ("12.0",)}

#: Layers of the network that only fp8 and nvfp4 have.
FP8_LAYERS = ("CONSTANT FP8", "CONSTANT FP4", "QUANTIZE FP8")

#: With 16 bits, only the VQ models' one wide head has no fused kernel.
ATTENTION = {
    Graph.LANGUAGE_MODEL: "fused",
    Graph.VISION_ENCODER: "fused",
    Graph.VQ_ENCODER: "decomposed",
    Graph.VQ_DECODER: "decomposed",
}

#: The graphs that must hold quantised weights.
BLOCKED = {Graph.LANGUAGE_MODEL, Graph.VISION_ENCODER}
QUANTISED = {
    "int8": {*BLOCKED, Graph.VQ_ENCODER, Graph.VQ_DECODER},
    "fp8": {*BLOCKED, Graph.VQ_ENCODER, Graph.VQ_DECODER},
    "int8-weight": BLOCKED,
    "int4-weight": BLOCKED,
    "nvfp4-weight": BLOCKED,
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_graph_builds(half_bundle: Path, tmp_path: Path, recipe: str) -> None:
    """Every graph of the 'tiny' model builds, for all capabilities at once that have the recipe's types."""
    check(Bundle.open(half_bundle), recipe, tmp_path, Changes())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_graph_builds_at_the_size_of_1b(
    wide_bundle: Path, tmp_path: Path, recipe: str
) -> None:
    """Two layers of the 1B's dimensions, with its own blocks and its whole VQ model."""
    check(Bundle.open(wide_bundle), recipe, tmp_path, Changes(scaling="none"))


@pytest.mark.parametrize(("recipe", "lacking"), [("fp8", "8.6"), ("nvfp4-weight", "8.9")])
def test_older_gpus(half_bundle: Path, tmp_path: Path, recipe: str, lacking: str) -> None:
    """The builder refuses what our own check refuses first, so the check is not too strict."""
    bundle = Bundle.open(half_bundle)
    wanted = quantised_recipe(recipe, "float16")
    assert capability_refusal(wanted, (lacking,))
    path = dict(graphs(bundle, recipe, tmp_path, Changes()))[Graph.LANGUAGE_MODEL]
    graph = Graph.LANGUAGE_MODEL
    with (
        lowered(path, graph, bundle.manifest.config, tmp_path) as changed,
        pytest.raises(EngineError, match="HW-specific datatypes"),
    ):
        built(bundle, graph, changed, tmp_path / "graph.plan", (lacking,))


@pytest.fixture(scope="module")
def wide_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of the 1B in float16, exported without a look at PyTorch's results."""
    from janus_edge.export.check import GraphChecker
    from janus_edge.export.checkpoint import Checkpoint
    from janus_edge.export.exporter import export_bundle
    from janus_edge.export.synthetic import DIMENSIONS, write_synthetic_checkpoint
    from janus_edge.recipe import recipe

    config, folder = DIMENSIONS["1b"], tmp_path_factory.mktemp("wide")
    config = replace(
        config,
        vision=replace(config.vision, layers=2),
        language=replace(config.language, layers=2),
    )
    checkpoint = write_synthetic_checkpoint(folder / "checkpoint", config)
    same = difference(np.zeros(1), np.zeros(1), "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GraphChecker, "check", lambda *_: same)
        return export_bundle(Checkpoint.open(checkpoint), folder / "bundle", recipe("fp16")).path


def check(bundle: Bundle, recipe: str, folder: Path, changes: Changes) -> None:
    """Build every graph in ``recipe``; the parts that are multiplied are of its types."""
    found, multiplied = {}, {}
    for graph, source in graphs(bundle, recipe, folder, changes):
        out = folder / "graph.plan"
        with lowered(source, graph, bundle.manifest.config, folder) as path:
            plan = built(bundle, graph, path, out, ABLE.get(recipe, CAPABILITIES))
            found[graph], multiplied[graph] = plan.precisions, len(quantised_nodes(path))
        assert len(plan.notes) == (plan.attention == "decomposed")
        assert plan.attention == ATTENTION.get(graph, "")
        assert out.stat().st_size > 0
        out.unlink()
    assert found.keys() == {*Graph}
    kind = "BF16" if recipe == "bf16" else "HALF"
    for graph in (Graph.LANGUAGE_MODEL, Graph.VISION_ENCODER, Graph.IMAGE_HEAD, Graph.TEXT_HEAD):
        assert f"MATRIX_MULTIPLY {kind}" in found[graph]
    assert f"CONVOLUTION {kind}" in found[Graph.VQ_DECODER]
    assert {graph for graph, count in multiplied.items() if count} == QUANTISED.get(recipe, set())
    for graph, count in multiplied.items():
        assert {name: found[graph].get(name, 0) for name in FP8_LAYERS} == {
            name: count * per_node for name, per_node in layers(recipe).items()
        }
        assert ("DEQUANTIZE HALF" in found[graph]) is (count > 0)


def quantised_nodes(path: Path) -> list[str]:
    """Return the nodes that multiply by a dequantised weight."""
    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return [n.name for n in nodes if n.op_type in ("MatMul", "Conv", "Gemm")
            and n.input[1].endswith(".dequantized")]  # fmt: skip


def layers(recipe: str) -> dict[str, int]:
    """Count the layers of each of FP8_LAYERS that a quantised node has in the network.

    fp8: its weight and a quantised input. nvfp4: its weight and the weight's scales.
    """
    counts = {"fp8": (1, 0, 1), "nvfp4-weight": (1, 1, 0)}.get(recipe, (0, 0, 0))
    return dict(zip(FP8_LAYERS, counts, strict=True))


def built(
    bundle: Bundle, graph: Graph, path: Path, out: Path, capabilities: tuple[str, ...]
) -> BuiltPlan:
    config = bundle.manifest.config
    profile = parse_profile("rows=2:4,prefill=32,capacity=64", config)
    return build_plan(
        path, graph, config, profile, load("tensorrt-rtx"), out, capabilities=capabilities
    )


def graphs(
    bundle: Bundle, recipe: str, folder: Path, changes: Changes
) -> Iterator[tuple[Graph, Path]]:
    """The graphs of a float16 bundle in another recipe; what it does not change is as it was."""
    if recipe == "bf16":
        for graph in Graph:
            yield graph, as_bfloat16(bundle.graph(graph), folder / f"{graph.value}.onnx")
        return
    if recipe != "fp16":
        wanted = recipe_for("tensorrt-rtx", recipe, bundle, changes)
        bundle, _ = quantise_bundle(bundle, folder / "q", wanted, calibration(bundle, folder))
    yield from ((graph, bundle.graph(graph)) for graph in Graph)


def calibration(bundle: Bundle, folder: Path) -> Path:
    """Statistics of every input, as if normal values had been seen."""
    rng = np.random.default_rng(0)
    seen: dict[str, dict[str, InputStatistics]] = {}
    for graph in Graph:
        for operand in operands(bundle.graph(graph)):
            recorded = InputStatistics(operand.channels)
            recorded.add(rng.normal(size=(64, operand.channels)).astype(np.float32))
            seen.setdefault(graph.value, {})[operand.input] = recorded
    Calibration(bundle.digest, seen).save(folder / "calibration.npz")
    return folder / "calibration.npz"


def as_bfloat16(source: Path, path: Path) -> Path:
    """A float16 graph with bfloat16 in its place, which is just what the exporter writes for bf16
    (seen of all eight graphs; only values are rounded twice)."""
    half, brain = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
    model = onnx.load(str(source))
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == half:
            wide = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.raw_data = (wide.view(np.uint32) >> 16).astype(np.uint16).tobytes()
            tensor.data_type = brain
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = brain
    for node in graph.node:
        for attribute in node.attribute:
            assert attribute.type not in (onnx.AttributeProto.TENSOR, onnx.AttributeProto.GRAPH)
            if attribute.name in ("to", "output_dtype") and attribute.i == half:
                attribute.i = brain
    onnx.save(model, str(path), save_as_external_data=True, location=f"{path.stem}.weights")
    return path
