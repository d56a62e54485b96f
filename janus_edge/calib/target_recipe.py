"""A recipe adapted to a target: the target's defaults, and float for layers that it cannot take."""

from __future__ import annotations

import logging
from dataclasses import replace

from janus_edge.bundle import Bundle
from janus_edge.calib.operands import operands
from janus_edge.calib.recipes import Changes, quantised_recipe
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.recipe import Recipe, Rule, Scheme
from janus_edge.target_limits import INT4_BLOCKS, refusal
from janus_edge.tensorrt_module import MODULES

_LOG = logging.getLogger(__name__)

#: Number of layers that a warning names.
_SHOWN = 3


def recipe_for(target: str, name: str, parent: Bundle, changes: Changes) -> Recipe:
    """Return the recipe ``name`` with ``changes``, adapted to engines of ``target``.

    For TensorRT, built-in int4 weights have blocks of 128 rows, or of 64 if only 64 divides a layer;
    ``changes`` and rules from a file take precedence. A layer that neither divides stays in float.
    Raises InputError like `quantised_recipe`, and for a recipe that the target does not take.
    """
    recipe = quantised_recipe(name, parent.manifest.recipe.float_type, changes)
    chosen = changes.block is not None or name.endswith(".json")
    if target in MODULES and not chosen:
        rules = (Rule(r.pattern, r.scheme and _in_large_blocks(r.scheme)) for r in recipe.rules)
        recipe = replace(recipe, rules=tuple(rules))
    why = refusal(target, recipe)
    if why:
        raise InputError(f"recipe '{recipe.name}' is not for {target}: {why}")
    if target not in MODULES:
        return recipe
    least = 0 if chosen else min(INT4_BLOCKS)
    kept = tuple(Rule(node, None) for node in _undivided(recipe, parent, least))
    if kept:
        _LOG.warning(
            "%d layers stay in float, because no block size of %s divides them: %s%s", len(kept), target,
            ", ".join(rule.pattern for rule in kept[:_SHOWN]), ", ..." if len(kept) > _SHOWN else "",
        )  # fmt: skip
    return replace(recipe, rules=(*kept, *recipe.rules))


def _in_large_blocks(scheme: Scheme) -> Scheme:
    return replace(scheme, block=max(INT4_BLOCKS)) if scheme.weights == "int4" else scheme


def _undivided(recipe: Recipe, parent: Bundle, least_int4: int) -> list[str]:
    """Return the nodes whose input channels are not a multiple of any block of their scheme."""
    found = []
    for graph in Graph:
        for operand in operands(parent.graph(graph)):
            scheme = recipe.scheme(graph.value, operand.node)
            if scheme is None or not scheme.block:
                continue
            block = scheme.block_for(operand.channels)
            small = scheme.weights == "int4" and block < least_int4
            if small or operand.channels % block:
                found.append(f"{graph.value}/{operand.node}")
    return found
