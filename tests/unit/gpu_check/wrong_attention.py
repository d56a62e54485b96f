"""The language model as it was parsed before its graphs were rewritten for TensorRT.

NVIDIA's parser drops Attention's `nonpad_kv_seqlen` and aligns the causal mask to the upper left, so
that a step attends to the first position only. A prefill into an empty cache stays right.
"""

from __future__ import annotations

from janus_edge.bundle import Bundle
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.graphs import Graph
from tests.tensorrt_network.network import Network
from tests.tensorrt_network.parsing import parse, rtx
from tests.tensorrt_network.reader import read_network


def parsed(bundle: Bundle, graph: Graph, profile: Profile) -> Network:
    """The network of the bundle's own graph, without any lowering."""
    return read_network(rtx().module, parse(bundle, graph, bundle.graph(graph), profile).network)
