"""Recipes for one target: the defaults, what overrides them, and what is an error."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.operands import operands
from janus_edge.calib.recipes import Changes, quantised_recipe, write_recipe
from janus_edge.calib.target_recipe import recipe_for
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.recipe import Recipe, Rule, Scheme

NONE = Changes()


def blocks(recipe: Recipe, bundle: Bundle) -> dict[int, set[int | None]]:
    """Map the channels of an input to the blocks of its weights; None means float."""
    found: dict[int, set[int | None]] = {}
    for graph in (Graph.LANGUAGE_MODEL, Graph.VISION_ENCODER):
        for operand in operands(bundle.graph(graph)):
            if operand.op_type == "Conv":
                continue
            scheme = recipe.scheme(graph.value, operand.node)
            block = scheme.block_for(operand.channels) if scheme else None
            found.setdefault(operand.channels, set()).add(block)
    return found


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx", "tensorrt-10.3"])
def test_int4_for_tensorrt(bundle: Bundle, target: str, caplog: pytest.LogCaptureFixture) -> None:
    """Blocks are 128 if that divides the channels, else 64; other layers stay in float, which is logged."""
    with caplog.at_level(logging.WARNING):
        recipe = recipe_for(target, "int4-weight", bundle, NONE)
    found = blocks(recipe, bundle)
    assert {channels: set(kinds) for channels, kinds in found.items()} == {
        channels: {128 if channels % 128 == 0 else 64 if channels % 64 == 0 else None}
        for channels in found
    }
    assert {None, 64} < {kind for kinds in found.values() for kind in kinds} | {128}
    assert f"13 layers stay in float, because no block size of {target} divides them" in caplog.text
    assert all(scheme.symmetric for scheme in recipe.schemes)
    assert recipe.cache == "float"


def test_what_is_chosen_wins(bundle: Bundle, tmp_path: Path) -> None:
    """--block and a file's rules are kept; only layers that they do not divide become float."""
    found = blocks(recipe_for("tensorrt-rtx", "int4-weight", bundle, Changes(block=32)), bundle)
    assert {None, 32} == {kind for kinds in found.values() for kind in kinds}
    path = tmp_path / "mine.json"
    write_recipe(path, (Rule("language_model/*", Scheme("int4", 32)), Rule("*", None)))
    recipe = recipe_for("tensorrt-rtx", str(path), bundle, NONE)
    assert blocks(recipe, bundle)[64] == {32, None}, "the vision encoder's are in float"


@pytest.mark.parametrize("target", ["ort-cpu", "ort-cuda"])
def test_onnx_runtime_takes_the_defaults(bundle: Bundle, target: str) -> None:
    """For ONNX Runtime nothing changes."""
    for name in ("int8", "int4-weight", "int8-weight-int8-cache"):
        assert recipe_for(target, name, bundle, NONE) == quantised_recipe(name, "float32")


@pytest.mark.parametrize(
    ("target", "name", "changes", "message"),
    [
        ("tensorrt", "int4-weight", Changes(symmetric=False), "zero points, which TensorRT"),
        ("tensorrt-rtx", "int8-int8-cache", NONE, "its KV cache is int8"),
        ("tensorrt", "int8-weight", NONE, "some weights are int8 with float inputs"),
        ("tensorrt-10.3", "fp8", NONE, "untested with TensorRT 10.3"),
        ("ort-cpu", "nvfp4-weight", NONE, "its weights are nvfp4"),
        ("tensorrt-rtx", "int9", NONE, "unknown recipe 'int9'"),
    ],
)
def test_conflicts(bundle: Bundle, target: str, name: str, changes: Changes, message: str) -> None:
    """A recipe that the target does not take is an error; it is not replaced by one that it takes."""
    with pytest.raises(InputError, match=message):
        recipe_for(target, name, bundle, changes)
