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
from janus_edge.compare import difference
from janus_edge.engines.tensorrt.api import load
from janus_edge.engines.tensorrt.build import BuiltPlan, build_plan
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.graphs import Graph
from janus_edge.recipe import Rule
from tests.unit.engines.tensorrt.parsed_networks import lowered

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

RECIPES = ["fp16", "bf16", "int8", "int8-weight", "int4-weight"]
CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")

#: The graphs that must hold integers.
BLOCKED = {Graph.LANGUAGE_MODEL, Graph.VISION_ENCODER}
QUANTISED = {
    "int8": {*BLOCKED, Graph.VQ_ENCODER, Graph.VQ_DECODER},
    "int8-weight": BLOCKED,
    "int4-weight": BLOCKED,
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_graph_builds(half_bundle: Path, tmp_path: Path, recipe: str) -> None:
    """Of the 'tiny' model, for four compute capabilities at once.

    TensorRT takes blocks that divide K: not those of this model's 176 and 48 channels.
    """
    ragged = ("*down_proj*", "vision_encoder/*")
    check(Bundle.open(half_bundle), recipe, tmp_path, ragged=ragged, changes=Changes(block=32))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_graph_builds_at_the_size_of_1b(
    wide_bundle: Path, tmp_path: Path, recipe: str
) -> None:
    """Two layers of the 1B's dimensions, with its own blocks and its whole VQ model."""
    check(Bundle.open(wide_bundle), recipe, tmp_path, changes=Changes(scaling="none"))


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


def check(
    bundle: Bundle, recipe: str, folder: Path, *, changes: Changes, ragged: tuple[str, ...] = ()
) -> None:
    """Build every graph in ``recipe``; the parts that are multiplied are of its types."""
    found = {}
    for graph, path in graphs(bundle, recipe, folder, changes, ragged):
        out = folder / "graph.plan"
        found[graph] = built(bundle, graph, path, out)
        assert out.stat().st_size == found[graph].size > 0
        out.unlink()
    assert found.keys() == {*Graph}
    kind = "BF16" if recipe == "bf16" else "HALF"
    for graph in (Graph.LANGUAGE_MODEL, Graph.VISION_ENCODER, Graph.IMAGE_HEAD, Graph.TEXT_HEAD):
        assert f"MATRIX_MULTIPLY {kind}" in found[graph].precisions
    assert f"CONVOLUTION {kind}" in found[Graph.VQ_DECODER].precisions
    integers = {g for g, plan in found.items() if "DEQUANTIZE HALF" in plan.precisions}
    expected = QUANTISED.get(recipe, set())
    assert integers == (
        expected - {Graph.VISION_ENCODER} if ragged and "weight" in recipe else expected
    )


def built(bundle: Bundle, graph: Graph, path: Path, out: Path) -> BuiltPlan:
    config = bundle.manifest.config
    profile = parse_profile("rows=2:4,prefill=32,capacity=64", config)
    tensorrt = load("tensorrt-rtx")
    with lowered(path, graph, config, out.parent) as changed:
        return build_plan(changed, graph, config, profile, tensorrt, out, capabilities=CAPABILITIES)


def graphs(
    bundle: Bundle, recipe: str, folder: Path, changes: Changes, ragged: tuple[str, ...]
) -> Iterator[tuple[Graph, Path]]:
    """The graphs of a float16 bundle in another recipe; what it does not change is as it was."""
    if recipe == "bf16":
        for graph in Graph:
            yield graph, as_bfloat16(bundle.graph(graph), folder / f"{graph.value}.onnx")
        return
    if recipe != "fp16":
        wanted = quantised_recipe(recipe, "float16", changes)
        if recipe.endswith("weight"):
            floats = tuple(Rule(pattern, None) for pattern in ragged)
            wanted = replace(wanted, rules=(*floats, *wanted.rules))
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
