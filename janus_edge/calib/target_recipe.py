"""A recipe for one target: its defaults where the user left a choice, and layers that it cannot take."""

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

#: Layers that a warning names.
_SHOWN = 3


def recipe_for(target: str, name: str, parent: Bundle, changes: Changes) -> Recipe:
    """The recipe ``name`` with ``changes``, as engines of ``target`` take it.

    For TensorRT, built-in int4 weights are in blocks of 128 rows, or of 64 where only these divide a
    layer; ``changes`` and rules from a file win. Layers that no whole block divides stay in
    float. Raises InputError as `quantised_recipe`, and for what the target does not take.
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
            "%d layers stay in float, which no block that %s takes divides: %s%s", len(kept), target,
            ", ".join(rule.pattern for rule in kept[:_SHOWN]), ", ..." if len(kept) > _SHOWN else "",
        )  # fmt: skip
    return replace(recipe, rules=(*kept, *recipe.rules))


def _in_large_blocks(scheme: Scheme) -> Scheme:
    return replace(scheme, block=max(INT4_BLOCKS)) if scheme.weights == "int4" else scheme


def _undivided(recipe: Recipe, parent: Bundle, least_int4: int) -> list[str]:
    """The nodes whose input channels are no multiple of any block that their scheme may have."""
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
