"""The network that NVIDIA's parser makes of each graph, in every recipe, computes what the graph says.

Each tensor is computed from ONNX Runtime's inputs and compared with ONNX Runtime's output. Nothing runs
on a GPU: these tests do not show which kernels TensorRT takes or how those round.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph
from tests.tensorrt_network.bundles import RECIPE_NAMES
from tests.tensorrt_network.comparison import teacher_forced
from tests.tensorrt_network.feeds import random_feeds
from tests.tensorrt_network.parsing import lowered, parse, rtx
from tests.tensorrt_network.reader import read_network
from tests.tensorrt_network.reference import Reference

#: `tensorrt-10.3` parses graphs of other operators, but treats recipes' types the same way.
CASES = [
    *(("tensorrt-rtx", recipe) for recipe in RECIPE_NAMES),
    *(("tensorrt-10.3", recipe) for recipe in ("fp32", "int8", "int4-weight")),
]


@pytest.mark.parametrize("graph", [graph.value for graph in Graph])
@pytest.mark.parametrize(("target", "recipe"), CASES)
def test_every_tensor(
    recipe_bundles: Callable[[str], Bundle], tmp_path: Path, target: str, recipe: str, graph: str
) -> None:
    """In the graph as its target parses it, floats are within limits, integers equal, and none is lost."""
    bundle = recipe_bundles(recipe)
    with lowered(target, bundle, Graph(graph), tmp_path) as path:
        parsed = parse(target, bundle, Graph(graph), path)
        network = read_network(rtx().module, parsed.network)
        feeds = random_feeds(network, bundle.manifest.config)
        wanted = Reference(path).run(feeds)
    found = teacher_forced(network, feeds, wanted)
    beyond = [str(one) for one in found if one]
    assert found
    assert not beyond, "\n".join(beyond)
