"""Bundles in which one layer group alone is quantised, made one at a time and thrown away."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.layer_groups import LayerGroup
from janus_edge.calib.operands import operands
from janus_edge.graphs import Graph
from janus_edge.recipe import Recipe, Rule
from janus_edge.runtime.pipeline import Janus


def variants(
    bundle: Bundle,
    groups: Mapping[str, LayerGroup],
    recipe: Recipe,
    calibration: str | Path | None,
    folder: Path,
    *,
    threads: int = 0,
) -> Iterator[tuple[str, Callable[[], Janus]]]:
    """A group's name and what opens its bundle, for each group of which ``recipe`` quantises a node.

    Bundles are written to ``folder`` when they are opened, each in the place of the one before.
    Raises what ``quantise_bundle`` raises.
    """
    nodes = [f"{g.value}/{o.node}" for g in Graph for o in operands(bundle.graph(g))]
    for name, group in groups.items():
        members = [n for n in nodes if any(fnmatchcase(n, p) for p in group.patterns)]
        rules = tuple(Rule(n, recipe.scheme(*n.split("/", 1))) for n in members)
        if any(rule.scheme for rule in rules):
            only = Recipe(f"{recipe.name} in {name}", recipe.float_type, rules)
            yield name, partial(_open, bundle, only, calibration, folder / "variant", threads)
    shutil.rmtree(folder / "variant", ignore_errors=True)


def _open(
    bundle: Bundle, recipe: Recipe, calibration: str | Path | None, target: Path, threads: int
) -> Janus:
    quantise_bundle(bundle, target, recipe, calibration, force=target.exists())
    return Janus.load(target, threads=threads, verify=False)
