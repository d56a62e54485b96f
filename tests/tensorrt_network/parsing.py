"""From a bundle's graph to the network that a target would build, as TensorRT-RTX' parser makes it.

All targets' graphs are parsed by TensorRT-RTX, which is the one that needs no GPU: the parser of
TensorRT is the same project.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from janus_edge.bundle import Bundle
from janus_edge.engine_manifest import Range
from janus_edge.engines.targets import target
from janus_edge.engines.tensorrt.api import TensorRT, load
from janus_edge.engines.tensorrt.messages import Messages
from janus_edge.engines.tensorrt.network import ParsedGraph, parse_graph
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.engines.tensorrt_target import TensorRTTarget
from janus_edge.graphs import Graph
from tests.tensorrt_network.network import Network
from tests.tensorrt_network.reader import read_network

#: Small: the shapes of a test's own inputs are within it.
PROFILE = Profile(Range(1, 2, 8), Range(1, 32, 32), 64, Range(1, 1, 4), Range(1, 1, 1))


@contextmanager
def lowered(name: str, bundle: Bundle, graph: Graph, folder: Path) -> Iterator[Path]:
    """The ONNX file that the target ``name`` parses."""
    made: Any = target(name, bundle.manifest.config)
    assert isinstance(made, TensorRTTarget)
    folder.mkdir(parents=True, exist_ok=True)
    with made.lowered(bundle.graph(graph), graph, folder) as (path, _):
        yield path


def parse(bundle: Bundle, graph: Graph, path: Path, profile: Profile = PROFILE) -> ParsedGraph:
    """The network of ``path``, with what owns its weights."""
    config = bundle.manifest.config
    return parse_graph(rtx(), path, graph, config, profile, Messages())


def parsed_network(
    name: str, bundle: Bundle, graph: Graph, folder: Path, profile: Profile = PROFILE
) -> Network:
    """What the parser makes of ``graph`` for the target ``name``."""
    with lowered(name, bundle, graph, folder) as path:
        parsed = parse(bundle, graph, path, profile)
        return read_network(rtx().module, parsed.network)


def rtx() -> TensorRT:
    """TensorRT-RTX."""
    return load("tensorrt-rtx")
