"""The layer groups of a bundle: what a mixed recipe keeps in float, or not, as one."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from janus_edge.bundle import Bundle
from janus_edge.calib.operands import operands
from janus_edge.errors import InputError
from janus_edge.graphs import Graph

#: What a node belongs to, by the start of its name; a node that none matches is its own group.
#: Half a block of the language model; a block of the vision encoder; the aligner; a level of the VQ
#: encoder or decoder, or what lies between encoder and decoder levels.
_GROUPS = {
    Graph.LANGUAGE_MODEL: re.compile(r"layers\.\d+\.\w+"),
    Graph.VISION_ENCODER: re.compile(r"vision_model\.encoder\.layers\.\d+|aligner"),
    Graph.VQ_ENCODER: re.compile(r"encoder\.(down\.\d+|mid)"),
    Graph.VQ_DECODER: re.compile(r"decoder\.(up\.\d+|mid)"),
}
#: Graphs that are one group each.
_WHOLE = (Graph.IMAGE_HEAD, Graph.TEXT_HEAD)


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """Nodes of one graph: those whose ``graph/node`` matches one of ``patterns`` (as in Rule).

    ``bytes`` is the size of their weights in the bundle's float type, a shared weight once.
    """

    name: str
    patterns: tuple[str, ...]
    bytes: int


def layer_groups(bundle: Bundle) -> dict[str, LayerGroup]:
    """The groups of a float bundle's quantisable nodes by name, in the order of its graphs.

    Names are like ``language_model/layers.3.self_attn``, ``vision_encoder/aligner``, ``image_head``,
    ``vq_decoder/decoder.up.2`` and ``vq_decoder/decoder.conv_in``. Every node of ``operands`` is in
    exactly one. Raises InputError for a bundle that is quantised already, BundleError.
    """
    manifest = bundle.manifest
    if manifest.recipe.quantised:
        raise InputError(
            f"{bundle.path} is quantised already ({manifest.recipe.name}); give its float parent"
        )
    weights: dict[str, dict[str, int]] = {}
    patterns: dict[str, tuple[str, ...]] = {}
    for graph in Graph:
        for operand in operands(bundle.graph(graph)):
            name, pattern = _group(graph, operand.node)
            patterns[name] = (pattern,)
            count = int(np.prod(operand.shape, dtype=np.int64))
            weights.setdefault(name, {})[operand.weight] = count * manifest.recipe.bytes_per_float
    return {n: LayerGroup(n, patterns[n], sum(sizes.values())) for n, sizes in weights.items()}


def _group(graph: Graph, node: str) -> tuple[str, str]:
    """The name of a node's group, and the pattern of the group's nodes."""
    if graph in _WHOLE:
        return graph.value, f"{graph.value}/*"
    rule = _GROUPS.get(graph)
    found = rule.match(node) if rule else None
    if found:
        return f"{graph.value}/{found[0]}", f"{graph.value}/{found[0]}.*"
    module, slash, _ = node.rpartition("/")
    name = f"{graph.value}/{module or node}"
    return name, f"{name}/*" if slash else name
