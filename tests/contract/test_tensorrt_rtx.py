"""Quantised graphs are what NVIDIA's parser and builder take: TensorRT-RTX builds without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.operands import operands
from janus_edge.calib.recipes import Changes, quantised_recipe
from janus_edge.calib.statistics import InputStatistics
from janus_edge.config import JanusConfig
from janus_edge.graphs import Graph, signature
from janus_edge.recipe import Rule

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

#: Least, usual and most of each symbol of the graph table.
SIZES = {"N": (1, 1, 2), "B": (1, 2, 4), "S": (1, 1, 32)}
CAPACITY = 64
GRAPHS = (Graph.LANGUAGE_MODEL, Graph.VISION_ENCODER, Graph.VQ_ENCODER, Graph.VQ_DECODER)


def build(path: Path, graph: Graph, config: JanusConfig, capability: Any) -> list[str]:
    """Parse the graph and build an engine; what TensorRT calls errors."""
    errors: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                errors.append(message)

    log = Log()
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    model = onnx.load(str(path), load_external_data=False)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "C":  # a cache has one length in an engine
                dim.dim_value = CAPACITY
    if not parser.parse(model.SerializeToString(), str(path)):
        return errors or ["not parsed"]
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer  # the bindings give the base class
            layer.attention.decomposable = True  # float32 has no kernel of its own
    options = builder.create_builder_config()
    options.num_compute_capabilities = 1
    options.set_compute_capability(capability, 0)
    profile = builder.create_optimization_profile()
    for port in signature(graph, config).inputs:
        if any(dim in SIZES for dim in port.shape):
            fixed = {**SIZES, "C": (CAPACITY,) * 3}
            sizes = [fixed[d] if isinstance(d, str) else (d,) * 3 for d in port.shape]
            profile.set_shape(port.name, *map(list, zip(*sizes, strict=True)))
    options.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, options)
    return errors if engine is not None else errors or ["no engine"]


@pytest.fixture(scope="module")
def calibration(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statistics of every input, as if normal values had been seen."""
    rng, opened = np.random.default_rng(0), Bundle.open(tiny_bundle)
    graphs: dict[str, dict[str, InputStatistics]] = {}
    for graph in Graph:
        for operand in operands(opened.graph(graph)):
            recorded = InputStatistics(operand.channels)
            recorded.add(rng.normal(size=(64, operand.channels)).astype(np.float32))
            graphs.setdefault(graph.value, {})[operand.input] = recorded
    path = tmp_path_factory.mktemp("calibration") / "c.npz"
    Calibration(opened.digest, graphs).save(path)
    return path


@pytest.mark.parametrize("recipe", ["int8", "int8-weight", "int4-weight"])
def test_quantised_graphs_build(
    tiny_bundle: Path, calibration: Path, tmp_path: Path, recipe: str
) -> None:
    """Every graph that the recipe changes, for one compute capability.

    TensorRT takes blocks that divide K: not those of this model's 176 and 48 channels.
    """
    wanted = quantised_recipe(recipe, "float32", Changes(block=32))
    if recipe.endswith("weight"):
        ragged = (Rule("*down_proj*", None), Rule("vision_encoder/*", None))
        wanted = replace(wanted, rules=(*ragged, *wanted.rules))
    bundle, reports = quantise_bundle(Bundle.open(tiny_bundle), tmp_path / "q", wanted, calibration)
    changed = [g for g in GRAPHS if g.value in {r.graph for r in reports}]
    assert Graph.LANGUAGE_MODEL in changed
    for graph in changed:
        config = bundle.manifest.config
        assert build(bundle.graph(graph), graph, config, trt.ComputeCapability.SM89) == [], graph
