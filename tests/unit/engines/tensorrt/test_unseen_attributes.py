"""Attributes whose effect is within the limits are compared with the ONNX graph directly.

Beside a variance near 1, an epsilon of 1e-6 changes nothing that float32 shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph
from tests.tensorrt_network.network import Network
from tests.tensorrt_network.parsing import lowered, parse, rtx
from tests.tensorrt_network.planting import find, setting
from tests.tensorrt_network.reader import read_network

_NORMS = ("LayerNormalization", "GroupNormalization", "InstanceNormalization")


@pytest.mark.parametrize("target", ["tensorrt-rtx", "tensorrt-10.3"])
@pytest.mark.parametrize("graph", ["vision_encoder", "vq_encoder", "vq_decoder"])
def test_epsilons_of_norms(tiny_bundle: Path, tmp_path: Path, target: str, graph: str) -> None:
    """Each normalisation has its node's epsilon, and a different epsilon is found."""
    bundle = Bundle.open(tiny_bundle)
    with lowered(target, bundle, Graph(graph), tmp_path) as path:
        nodes = onnx.load(str(path), load_external_data=False).graph.node
        parsed = parse(target, bundle, Graph(graph), path)
    wanted = {node.name: epsilon(node) for node in nodes if node.op_type in _NORMS}
    assert norms(read_network(rtx().module, parsed.network)) == wanted
    assert wanted
    setting("", "NORMALIZATION", epsilon=1e-5)(rtx().module, parsed.network)
    assert norms(read_network(rtx().module, parsed.network)) != wanted


def norms(network: Network) -> dict[str, np.float32]:
    """Map each layer's name, which is its node's, to its epsilon."""
    return {
        layer.name: np.float32(layer.attributes["epsilon"])
        for layer in network.layers
        if layer.type == "NORMALIZATION"
    }


def epsilon(node: onnx.NodeProto) -> np.float32:
    return np.float32(onnx.helper.get_node_attr_value(node, "epsilon"))


def test_epsilons_of_rms_norms(tiny_bundle: Path, tmp_path: Path) -> None:
    """The parser makes several layers of each RMS norm. The constant added to the mean is the epsilon, and
    a different one is found."""
    bundle = Bundle.open(tiny_bundle)
    with lowered("tensorrt-rtx", bundle, Graph.LANGUAGE_MODEL, tmp_path) as path:
        nodes = onnx.load(str(path), load_external_data=False).graph.node
        parsed = parse("tensorrt-rtx", bundle, Graph.LANGUAGE_MODEL, path)
    wanted = {node.name: epsilon(node) for node in nodes if node.op_type == "RMSNormalization"}
    assert len(wanted) == 5
    network = read_network(rtx().module, parsed.network)
    assert {name: added_constant(network, name) for name in wanted} == wanted
    other = np.array(1e-5, np.float32)
    constant: Any = find(rtx().module, parsed.network, "(Unnamed", "CONSTANT")
    constant.weights = other
    network = read_network(rtx().module, parsed.network)
    assert {name: added_constant(network, name) for name in wanted} != wanted


def added_constant(network: Network, node: str) -> np.float32:
    """Return the constant, before casts and shuffles, that is the second operand of ``node``'s sum."""
    makers = {tensor.name: layer for layer in network.layers for tensor in layer.outputs}
    sums = [
        layer
        for layer in network.layers
        if layer.name.startswith(node) and layer.attributes.get("op") == "SUM"
    ]
    assert len(sums) == 1
    maker = makers[str(sums[0].inputs[1])]
    while maker.type in ("CAST", "SHUFFLE"):
        maker = makers[str(maker.inputs[0])]
    assert maker.type == "CONSTANT"
    return np.float32(maker.attributes["weights"].item())
