"""What NVIDIA's parser made of every graph in every recipe computes what the graph says.

Each tensor of a graph is computed from ONNX Runtime's inputs and compared with ONNX Runtime's output.
Nothing runs on a GPU: which kernels TensorRT takes, and what those round, is not seen here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph
from tests.tensorrt_network.bundles import RECIPE_NAMES, recipe_bundle
from tests.tensorrt_network.comparison import teacher_forced
from tests.tensorrt_network.feeds import random_feeds
from tests.tensorrt_network.parsing import lowered, parse, rtx
from tests.tensorrt_network.reader import read_network
from tests.tensorrt_network.reference import Reference


@pytest.fixture(scope="module", params=RECIPE_NAMES)
def bundle(
    request: pytest.FixtureRequest,
    tiny_bundle: Path,
    half_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    folder = tmp_path_factory.mktemp(request.param) / "bundle"
    return recipe_bundle(request.param, tiny_bundle, half_bundle, folder)


@pytest.mark.parametrize("graph", [graph.value for graph in Graph])
def test_every_tensor(bundle: Bundle, tmp_path: Path, graph: str) -> None:
    """Of the graph as `tensorrt-rtx` parses it: floats within the limits, integers equal, none lost."""
    with lowered("tensorrt-rtx", bundle, Graph(graph), tmp_path) as path:
        parsed = parse(bundle, Graph(graph), path)
        network = read_network(rtx().module, parsed.network)
        feeds = random_feeds(network, bundle.manifest.config)
        wanted = Reference(path).run(feeds)
    found = teacher_forced(network, feeds, wanted)
    beyond = [str(one) for one in found if one]
    assert found
    assert not beyond, "\n".join(beyond)
