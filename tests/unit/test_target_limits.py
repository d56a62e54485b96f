"""Which parts of a recipe each target takes."""

from __future__ import annotations

import re

import pytest

from janus_edge.calib.recipes import RULES, quantised_recipe
from janus_edge.engines.target_names import TARGET_NAMES
from janus_edge.recipe import RECIPES, Recipe, Rule, Scheme
from janus_edge.target_limits import capability_refusal, rebuild_refusal, refusal, unusual_blocks

#: Which of the built-in recipes each target takes.
TAKEN = {
    "ort-cpu": {"int8", "int8-weight", "int4-weight"},
    "ort-cuda": {"int8", "int8-weight", "int4-weight"},
    "tensorrt": {"int8", "fp8", "int4-weight"},
    "tensorrt-rtx": {"int8", "fp8", "int8-weight", "int4-weight", "nvfp4-weight"},
    "tensorrt-10.3": {"int8", "int4-weight"},
}


@pytest.mark.parametrize("target", TARGET_NAMES)
def test_the_built_in_recipes(target: str) -> None:
    """Each target takes exactly these recipes, and a refusal names the fix."""
    why = {name: refusal(target, quantised_recipe(name, "float16")) for name in RULES}
    assert {name for name, reason in why.items() if reason is None} == TAKEN[target]
    for reason in filter(None, why.values()):
        assert re.search(
            "quantise .*with --recipe int8 or int4|quantise with --recipe int8", reason
        )
    assert refusal(target, RECIPES["fp16"]) is None


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("tensorrt", "int4-weight-int8-heads"),
        ("tensorrt-10.3", "int8-int8-heads"),
        ("tensorrt", "int8-weight"),
        ("tensorrt", "nvfp4-weight"),
    ],
)
def test_weights_alone(target: str, name: str) -> None:
    """If only weights are quantised, full TensorRT takes int4 alone. Other types, even in the heads, would
    become 16 bits wide or be dequantised at every step."""
    reason = refusal(target, quantised_recipe(name, "float16"))
    assert reason is not None
    assert "int4 only: it would widen the weights to 16 bits" in reason
    assert "without -int8-heads, or build for tensorrt-rtx" in reason
    assert refusal("tensorrt-rtx", quantised_recipe(name, "float16")) is None


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx", "tensorrt-10.3"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("capability", ["7.5", "8.7", "8.9", "9.0", "10.0", "11.0", "12.0"])
def test_a_refusal_to_rebuild_names_what_builds(target: str, name: str, capability: str) -> None:
    """On one GPU for one target: every recipe that the fix names is taken there."""
    reason = rebuild_refusal(target, quantised_recipe(name, "float16"), [capability])
    if reason is None:
        assert name in TAKEN[target]
        return
    _, _, fix = reason.partition("quantise with --recipe ")
    assert "build for" not in reason
    for other in re.findall(r"int8(?!-)|int4-weight", fix.partition(",")[0]):
        assert rebuild_refusal(target, quantised_recipe(other, "float16"), [capability]) is None
    assert fix


def test_one_scale_per_channel_changes_nothing() -> None:
    """int8 weights alone are refused with and without blocks; with quantised inputs they are taken."""
    alone = Recipe("r", "float16", (Rule("*", Scheme("int8")),))
    assert "some weights are int8" in str(refusal("tensorrt", alone))
    both = Recipe("r", "float16", (Rule("*", Scheme("int8", inputs="maximum")),))
    assert refusal("tensorrt", both) is None


@pytest.mark.parametrize(
    ("name", "taken", "lacking"),
    [
        ("fp8", ("8.9", "9.0", "12.0"), ("7.5", "8.0", "8.6", "8.7")),
        ("nvfp4-weight", ("10.0", "12.0", "12.1"), ("8.9", "9.0")),
        ("int8", ("7.5", "8.6", "12.0"), ()),
    ],
)
def test_capabilities(name: str, taken: tuple[str, ...], lacking: tuple[str, ...]) -> None:
    """fp8 needs Ada or newer, nvfp4 needs Blackwell; capabilities compare as numbers, not as text."""
    recipe = quantised_recipe(name, "float16")
    assert capability_refusal(recipe, taken) is None
    for capability in lacking:
        reason = capability_refusal(recipe, (taken[0], capability))
        assert reason is not None
        assert f"or newer, not {capability}: build only for such GPUs" in reason


def test_blocks_of_int4() -> None:
    """TensorRT documents blocks of 64 and 128; the blocks of int8 are not checked."""
    for block, unusual in ((32, (32,)), (64, ()), (128, ())):
        recipe = Recipe("r", "float16", (Rule("*", Scheme("int4", block)),))
        assert unusual_blocks(recipe) == unusual
    assert unusual_blocks(Recipe("r", "float16", (Rule("*", Scheme("int8", 32)),))) == ()
