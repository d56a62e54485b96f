"""Tiny bundles in every recipe, without a further export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.recipes import RULES, Changes, quantised_recipe
from janus_edge.graphs import Graph
from janus_edge.recipe import RECIPES, Recipe, Rule, Scheme
from tests.unit.engines.tensorrt.test_recipes import as_bfloat16, calibration

#: All built-in recipes and a mixture. ONNX Runtime computes no 4-bit floats, so nvfp4 has no reference.
RECIPE_NAMES = (
    "fp32", "fp16", "bf16", *(name for name in RULES if not name.startswith("nvfp4")), "mixed",
)  # fmt: skip

#: Their channels are not a multiple of a block.
_RAGGED = (Rule("*down_proj*", None), Rule("vision_encoder/*", None))


def mixed() -> Recipe:
    """A recipe with floats, 8-bit weights and inputs, and blocks of 4-bit and 8-bit weights."""
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
    """Return the tiny model in ``recipe``, from a float32 and a float16 bundle."""
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
