"""The weights by dimensions alone: the exporter's parameters, and the bytes of real bundles."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.recipes import RULES
from janus_edge.errors import InputError
from janus_edge.export.graph_modules import build_module
from janus_edge.export.synthetic import DIMENSIONS
from janus_edge.graphs import Graph
from janus_edge.recipe import RECIPES, Recipe, Rule, Scheme
from janus_edge.weight_table import Weight, weight_bytes, weights
from tests.unit.calib.test_bundle_quantizer import made_up_calibration

_FLOAT = (Rule("vq_*/*", None), Rule("*_head/*", None), Rule("*Conv", None))

#: The built-in recipes, but int8 without SmoothQuant's search, and the forms that they leave out.
RECIPES_OF_INTEGERS = [
    *(
        Recipe(f"{name} inputs", "float32", (Rule("*", Scheme(name, inputs="maximum")),))
        for name in ("int8", "fp8")
    ),
    *(
        Recipe(f"{scheme.weights}-{scheme.block}-{scheme.symmetric}", "float32", (*_FLOAT, Rule("*", scheme)))
        for scheme in (
            Scheme("int8", block=128),
            Scheme("int8", block=32, symmetric=False),
            Scheme("int4", block=32),
            Scheme("int4", block=64, symmetric=False),
            Scheme("nvfp4", block=16),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("precision", RECIPES)
@pytest.mark.parametrize("dimensions", ["tiny", "1b", "7b"])
@pytest.mark.parametrize("graph", Graph)
def test_the_exporters_parameters(graph: Graph, dimensions: str, precision: str) -> None:
    """Names, shapes and bytes are those of the modules that the exporter traces, at every size."""
    config, recipe = DIMENSIONS[dimensions], RECIPES[precision]
    with torch.device("meta"):
        module = build_module(graph, config, getattr(torch, recipe.float_type))
    parameters = dict(module.named_parameters())
    assert {w.name: w.shape for w in weights(graph, config)} == {
        name: tuple(parameter.shape) for name, parameter in parameters.items()
    }
    assert weight_bytes(graph, config, recipe) == sum(p.nbytes for p in parameters.values())


def constants(bundle: Bundle, graph: Graph) -> int:
    """Bytes of all constants of a graph."""
    model = onnx.load(str(bundle.graph(graph)), load_external_data=False)
    return sum(ir.from_proto(tensor).nbytes for tensor in model.graph.initializer)


def check(bundle: Bundle) -> None:
    manifest = bundle.manifest
    for graph in Graph:
        computed = weight_bytes(graph, manifest.config, manifest.recipe)
        # what the table leaves out: constants of int64, and a scale and a zero point per input
        most = 16 * len(list(weights(graph, manifest.config))) + 24
        assert 0 <= constants(bundle, graph) - computed <= most, graph
        # files hold the structure of the graph besides: less than 2 KiB for each weight
        structure = bundle.graph_bytes(graph) - computed
        assert 0 <= structure <= 2048 * len(list(weights(graph, manifest.config))) + 2048, graph


def test_a_float_bundle(tiny_bundle: Path) -> None:
    """The table's bytes are those of a bundle, but for small constants."""
    check(Bundle.open(tiny_bundle))


@pytest.mark.parametrize("recipe", RECIPES_OF_INTEGERS, ids=lambda recipe: recipe.name)
def test_a_quantised_bundle(tiny_bundle: Path, tmp_path: Path, recipe: Recipe) -> None:
    """Integers, scales and zero points are counted as the quantiser writes them."""
    calibration = None
    if recipe.name.endswith("inputs"):
        calibration = made_up_calibration(tiny_bundle, tmp_path / "calibration.npz")
    written, _ = quantise_bundle(Bundle.open(tiny_bundle), tmp_path / "out", recipe, calibration)
    check(written)


def test_the_built_in_recipes() -> None:
    """At the 1B's dimensions each recipe is smaller than the one before; heads stay as they are."""
    config, sizes = DIMENSIONS["1b"], []
    for name in ("int8-weight", "int8", "fp8", "nvfp4-weight", "int4-weight"):
        recipe = Recipe(name, "float16", RULES[name])
        assert weight_bytes(Graph.TEXT_HEAD, config, recipe) == 2048 * 102400 * 2
        sizes.append(weight_bytes(Graph.LANGUAGE_MODEL, config, recipe))
    floats = weight_bytes(Graph.LANGUAGE_MODEL, config, RECIPES["fp16"])
    assert [floats, *sizes] == sorted([floats, *sizes], reverse=True)


def test_blocks() -> None:
    """A convolution has no blocks."""
    weight = Weight("a.weight", (8, 4, 3, 3), "a/Conv")
    with pytest.raises(InputError, match=r"a/Conv is a convolution.*block 0"):
        weight.stored_bytes(RECIPES["fp32"], Scheme("int8", block=32))
