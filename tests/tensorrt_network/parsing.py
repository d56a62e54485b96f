"""Parse a bundle's graph with TensorRT-RTX into the network that a target would build.

TensorRT-RTX parses the graphs of all targets because it needs no GPU. The parser of TensorRT is the
same project.
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
from janus_edge.graphs import Graph, engine_signature
from tests.tensorrt_network.network import Network
from tests.tensorrt_network.reader import read_network

#: Small, but large enough for the inputs of a test.
PROFILE = Profile(Range(1, 2, 8), Range(1, 32, 32), 64, Range(1, 1, 4), Range(1, 1, 1))


@contextmanager
def lowered(name: str, bundle: Bundle, graph: Graph, folder: Path) -> Iterator[Path]:
    """Return the ONNX file that the target ``name`` parses."""
    made: Any = target(name, bundle.manifest.config)
    assert isinstance(made, TensorRTTarget)
    folder.mkdir(parents=True, exist_ok=True)
    with made.lowered(bundle.graph(graph), graph, folder) as (path, _):
        yield path


def parse(
    name: str, bundle: Bundle, graph: Graph, path: Path, profile: Profile = PROFILE
) -> ParsedGraph:
    """Parse ``path`` as the target ``name`` does; return the network and the owner of its weights."""
    config = bundle.manifest.config
    ports = engine_signature(graph, config, name)
    return parse_graph(rtx(), path, graph, config, profile, Messages(), ports)


def parsed_network(
    name: str, bundle: Bundle, graph: Graph, folder: Path, profile: Profile = PROFILE
) -> Network:
    """Return what the parser makes of ``graph`` for the target ``name``."""
    with lowered(name, bundle, graph, folder) as path:
        parsed = parse(name, bundle, graph, path, profile)
        return read_network(rtx().module, parsed.network)


def rtx() -> TensorRT:
    """TensorRT-RTX."""
    return load("tensorrt-rtx")
