"""Rules over node names, the built-in recipes, and recipes from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from janus_edge.calib.recipes import RULES, Changes, quantised_recipe, write_recipe
from janus_edge.errors import InputError
from janus_edge.recipe import Recipe, Rule, Scheme

INT4 = Scheme("int4", 32)


def test_the_first_rule_that_matches_wins() -> None:
    recipe = Recipe("r", "float32", (
        Rule("language_model/layers.0.*", None), Rule("language_model/*", INT4),
    ))  # fmt: skip
    assert recipe.scheme("language_model", "layers.0.mlp.up_proj/MatMul") is None
    assert recipe.scheme("language_model", "layers.10.mlp.up_proj/MatMul") == INT4
    assert recipe.scheme("vision_encoder", "layers.1/MatMul") is None
    assert recipe.quantised
    assert not Recipe("r", "float32", (Rule("*", None),)).quantised


@pytest.mark.parametrize(("arguments", "message"), [
    (("int3", 32), "weights must be one of int8, int4, fp8, nvfp4; found 'int3'"),
    (("int4", 48), "the block of int4 must be one of 32, 64, 128; found 48"),
    (("int4",), "the block of int4 must be one of 32, 64, 128; found 0"),
    (("fp8", 32), "the block of fp8 must be one of 0; found 32"),
    (("nvfp4", 32), "the block of nvfp4 must be one of 16; found 32"),
    (("int8", 0, False), "need int8 or int4 with a block above 0"),
    (("nvfp4", 16, False), "need int8 or int4 with a block above 0"),
    (("int8", 32, True, "maximum"), "set block to 0"),
    (("int8", 0, True, "largest"), "inputs must be null or one of maximum"),
    (("fp8", 0, True, "entropy"), "entropy ranges count equal steps, which fp8 does not have"),
    (("int8", 0, True, None, "smooth"), "smooth scaling needs 8-bit inputs"),
    (("int8", 0, True, "maximum", "awq"), "AWQ weights need int8 or int4 with a block above 0"),
    (("nvfp4", 16, True, None, "awq"), "AWQ weights need int8 or int4 with a block above 0"),
    (("int8", 0, True, "maximum", "more"), "scaling must be one of none, smooth, awq"),
])  # fmt: skip
def test_schemes_that_contradict_themselves(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scheme(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(RULES))
def test_built_in_recipes(name: str) -> None:
    """Heads stay in float, the language model's layers do not."""
    recipe = quantised_recipe(name, "float16")
    assert (recipe.name, recipe.float_type) == (name, "float16")
    assert recipe.scheme("image_head", "vision_head/MatMul") is None
    assert recipe.scheme("text_head", "lm_head/MatMul") is None
    layer = recipe.scheme("language_model", "layers.3.self_attn.q_proj/MatMul")
    assert layer is not None
    assert (layer.inputs is None) == name.endswith("weight")
    convolution = recipe.scheme("vq_decoder", "decoder.conv_in/Conv")
    assert (convolution is None) == name.endswith("weight")
    assert convolution is None or convolution.scaling == "none"


def test_changes_reach_the_schemes_they_concern() -> None:
    changed = quantised_recipe(
        "int4-weight", "float32", Changes(64, False, "entropy", "none", True)
    )
    scheme = changed.scheme("language_model", "layers.0.mlp.up_proj/MatMul")
    assert scheme == Scheme("int4", 64, symmetric=False, gptq=True)
    changed = quantised_recipe("int8", "float32", Changes(64, False, "entropy", None, True))
    scheme = changed.scheme("language_model", "layers.0.mlp.up_proj/MatMul")
    assert scheme == Scheme("int8", inputs="entropy", scaling="smooth")
    with pytest.raises(InputError, match="recipe 'int8': .*AWQ weights need int8 or int4"):
        quantised_recipe("int8", "float32", Changes(scaling="awq"))


def test_a_recipe_in_a_file(tmp_path: Path) -> None:
    """What is written is read back, and takes its name from the file."""
    path = tmp_path / "mine.json"
    rules = (Rule("*/first", None), Rule("*", INT4))
    write_recipe(path, rules)
    recipe = quantised_recipe(str(path), "float32")
    assert recipe == Recipe("mine", "float32", rules)
    write_recipe(path, (), "int8")
    assert quantised_recipe(str(path), "float16") == Recipe("mine", "float16", (), "int8")


@pytest.mark.parametrize("name", ["int8-cache", *(f"{name}-int8-cache" for name in RULES)])
def test_int8_caches(name: str) -> None:
    """A recipe's rules are those of its name without the cache; the cache alone has none."""
    recipe = quantised_recipe(name, "float32")
    plain = name.removesuffix("-int8-cache")
    assert recipe.rules == (quantised_recipe(plain, "float32").rules if plain in RULES else ())
    assert (recipe.name, recipe.cache, recipe.quantised) == (name, "int8", True)
    assert (recipe.bytes_per_cached, recipe.bytes_per_float) == (1, 4)
    with pytest.raises(InputError, match="unknown recipe 'int9-int8-cache'"):
        quantised_recipe("int9-int8-cache", "float32")


def test_caches_of_other_types() -> None:
    """Float recipes keep floats in the cache; what is neither is refused."""
    assert (Recipe("r", "float16").cache, Recipe("r", "float16").bytes_per_cached) == ("float", 2)
    with pytest.raises(ValueError, match="cache must be float or int8, found 'int4'"):
        Recipe("r", "float16", (), "int4")


@pytest.mark.parametrize(("text", "message"), [
    ("{", "not a readable recipe"),
    ('{"rules": [{"pattern": "*"}]}', "missing key 'rules\\[0\\].scheme'"),
    ('{"rules": [{"pattern": "*", "scheme": {"weights": "int4"}}]}', "the block of int4 must"),
    ('{"rules": [{"pattern": "*", "scheme": {"weights": "int8", "blocks": 32}}]}', "unknown key"),
    ('{"rules": [{"pattern": "*", "scheme": null}]}', "nothing would be quantised"),
    ('{"rules": [], "cache": "int4"}', "cache must be float or int8"),
])  # fmt: skip
def test_files_that_are_no_recipes(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        quantised_recipe(str(path), "float32")
    assert str(path) in str(caught.value)


def test_unknown_recipes(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="unknown recipe 'int9': choose one of int8, fp8, int8-weight"
    ):
        quantised_recipe("int9", "float32")
    with pytest.raises(InputError, match="not a readable recipe"):
        quantised_recipe(str(tmp_path / "absent.json"), "float32")
    assert (
        json.dumps(list(RULES)) == '["int8", "fp8", "int8-weight", "int4-weight", "nvfp4-weight"]'
    )


@pytest.mark.parametrize(
    ("name", "cache"),
    [
        ("int4-weight-int8-heads", "float"),
        ("int4-weight-int8-heads-int8-cache", "int8"),
        ("int4-weight-int8-cache-int8-heads", "int8"),
    ],
)
def test_heads_in_int8(name: str, cache: str) -> None:
    """Weights alone, whatever is changed of the other rules, which stay what they were."""
    recipe = quantised_recipe(name, "float32", Changes(block=64, scaling="none", gptq=True))
    assert (recipe.name, recipe.cache) == (name, cache)
    for head in ("image_head", "text_head"):
        assert recipe.scheme(head, "a") == Scheme("int8", block=128)
    plain = quantised_recipe("int4-weight", "float32", Changes(block=64, scaling="none", gptq=True))
    assert recipe.rules[2:] == plain.rules
    assert plain.scheme("text_head", "a") is None


def test_heads_alone() -> None:
    recipe = quantised_recipe("int8-heads", "float16")
    assert {rule.pattern for rule in recipe.rules} == {"image_head/*", "text_head/*"}
    assert (recipe.cache, recipe.float_type) == ("float", "float16")
    both = quantised_recipe("int8-heads-int8-cache", "float32")
    assert (len(both.rules), both.cache) == (2, "int8")
    for wrong in ("int8-heads-int8-heads", "int9-int8-heads", "int4-weight-heads", "int8-head"):
        with pytest.raises(InputError, match=f"unknown recipe '{wrong}'"):
            quantised_recipe(wrong, "float32")


def test_images_in_int8() -> None:
    """What `int8` does to the vision encoder and the VQ model, in front of the recipe's own rules, which
    alone take changes of blocks and scaling; ranges are changed in both."""
    changes = Changes(block=64, inputs="entropy", scaling="none")
    recipe = quantised_recipe("int4-weight-int8-images", "float32", changes)
    plain, int8 = (quantised_recipe(n, "float32", changes) for n in ("int4-weight", "int8"))
    assert recipe.rules[-len(plain.rules) :] == plain.rules
    smooth = Scheme("int8", inputs="entropy", scaling="smooth")
    assert recipe.scheme("vision_encoder", "a") == smooth
    for graph, node in (
        ("vision_encoder", "a/Conv"),
        ("vq_decoder", "a"),
        ("vq_encoder", "b/Conv"),
    ):
        assert recipe.scheme(graph, node) == int8.scheme(graph, node)
    assert recipe.scheme("language_model", "a") == Scheme("int4", block=64)
    assert recipe.scheme("image_head", "a") is None
    alone = quantised_recipe("int8-images", "float32")
    assert {rule.pattern.partition("/")[0] for rule in alone.rules} == {"vision_encoder", "vq_*"}
