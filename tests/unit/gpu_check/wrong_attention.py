"""The language model with the mistake that NVIDIA's parser makes with Attention's `nonpad_kv_seqlen`.

The parser drops that input and aligns the causal mask to the upper left. A step then attends only to
the first position, while a prefill into an empty cache stays right. A build refuses a dropped input,
so this module removes the input before the graph is parsed.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from janus_edge.bundle import Bundle
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.graphs import Graph
from tests.tensorrt_network.network import Network
from tests.tensorrt_network.parsing import parse, rtx
from tests.tensorrt_network.reader import read_network

#: The number of Attention's inputs before `nonpad_kv_seqlen`.
_KEPT = 6


def parsed(bundle: Bundle, graph: Graph, profile: Profile, folder: Path) -> Network:
    """Return the network of the bundle's own graph, without any lowering; files go to ``folder``."""
    path = _without_lengths(bundle.graph(graph), folder)
    return read_network(rtx().module, parse("tensorrt-rtx", bundle, graph, path, profile).network)


def _without_lengths(path: Path, folder: Path) -> Path:
    """Write the graph as the parser understands it, with links to its weights, to ``folder``."""
    model, changed = onnx.load(path, load_external_data=False), 0
    for node in model.graph.node:
        if node.op_type == "Attention" and len(node.input) > _KEPT:
            del node.input[_KEPT:]
            while not node.input[-1]:
                del node.input[-1]
            changed += 1
    assert changed
    for weights in path.parent.glob(f"{path.stem}.weights*"):
        (folder / weights.name).symlink_to(weights.absolute())
    onnx.save(model, folder / path.name)
    return folder / path.name
