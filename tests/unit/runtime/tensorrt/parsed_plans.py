"""Plans of a real bundle compute the network that NVIDIA's parser made, through the interpreter.

A plan of the fake TensorRT is text that names its network by a key; the networks stay in this process.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from janus_edge.bundle import Bundle
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.graphs import Graph
from tests.tensorrt_network.data_types import Array
from tests.tensorrt_network.interpreter import Interpreter
from tests.tensorrt_network.parsing import parsed_network

_INTERPRETERS: dict[str, Interpreter] = {}
_NUMBERS = itertools.count()


def add_plan(target: str, bundle: Bundle, graph: Graph, profile: Profile, folder: Path) -> str:
    """Rewrite and parse ``graph`` as ``target`` does; return the key of its network."""
    network = parsed_network(target, bundle, graph, folder, profile)
    key = f"{graph.value} {next(_NUMBERS)}"
    _INTERPRETERS[key] = Interpreter(network)
    return key


def run_plan(key: str, given: dict[str, Array], made: dict[str, Array]) -> None:
    """Compute the outputs ``made`` in place; the arrays of a cache are both past and present."""
    feeds = {
        name: array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
        for name, array in given.items()
    }
    for name, array in _INTERPRETERS[key].run(feeds).items():
        if array is not made[name]:
            made[name][...] = array
