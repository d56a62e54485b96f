"""Tiny bundles in every recipe, without another export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.recipes import Changes, quantised_recipe
from janus_edge.graphs import Graph
from janus_edge.recipe import RECIPES, Recipe, Rule, Scheme
from tests.unit.engines.tensorrt.test_recipes import as_bfloat16, calibration

FLOATS = ("fp32", "fp16", "bf16")
RECIPE_NAMES = (*FLOATS, "int8", "int8-weight", "int4-weight", "mixed")

#: Their channels are no multiple of a block.
_RAGGED = (Rule("*down_proj*", None), Rule("vision_encoder/*", None))


def mixed() -> Recipe:
    """Floats, 8-bit weights and inputs, and blocks of 4-bit and 8-bit weights in one model."""
    integers = quantised_recipe("int8", "float16").rules
    rules = (
        Rule("language_model/*o_proj*", Scheme("int8", 32)),
        Rule("language_model/*mlp.gate_proj*", Scheme("int4", 32)),
        Rule("language_model/*mlp.up_proj*", Scheme("int4", 32)),
        Rule("language_model/layers.0*", None),
        Rule("vq_decoder/decoder.mid*", None),
    )
    return Recipe("mixed", "float16", (*rules, *integers))


def recipe_bundle(recipe: str, full: Path, half: Path, folder: Path) -> Bundle:
    """The tiny model in ``recipe``, of a float32 and a float16 bundle."""
    if recipe == "fp32":
        return Bundle.open(full)
    bundle = Bundle.open(half)
    if recipe == "fp16":
        return bundle
    if recipe == "bf16":
        (folder / "graphs").mkdir(parents=True)
        for graph in Graph:
            as_bfloat16(bundle.graph(graph), folder / "graphs" / f"{graph.value}.onnx")
        manifest = replace(bundle.manifest, recipe=RECIPES["bf16"])
        return Bundle(folder, manifest, verify=False)
    folder.mkdir(parents=True, exist_ok=True)
    if recipe == "mixed":
        wanted = mixed()
    else:
        wanted = quantised_recipe(recipe, "float16", Changes(block=32))
        if recipe.endswith("weight"):
            wanted = replace(wanted, rules=(*_RAGGED, *wanted.rules))
    made, _ = quantise_bundle(bundle, folder / "q", wanted, calibration(bundle, folder))
    return made
