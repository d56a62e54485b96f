"""Mistakes in a parsed network are found at the tensor where they were made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph
from tests.tensorrt_network.comparison import Difference, teacher_forced
from tests.tensorrt_network.data_types import Array
from tests.tensorrt_network.feeds import random_feeds
from tests.tensorrt_network.mistakes import MISTAKES, NONE, Mistake
from tests.tensorrt_network.parsing import lowered, parse, parsed_network, rtx
from tests.tensorrt_network.reader import read_network
from tests.tensorrt_network.reference import Reference


@dataclass
class Prepared:
    """A graph as its target parses it, its inputs, and what each tensor should be."""

    bundle: Bundle
    path: Path
    feeds: dict[str, Array]
    wanted: dict[str, Array]


class Preparing:
    """Graphs by recipe, target and name, each made once."""

    def __init__(self, bundles: Callable[[str], Bundle], folder: Path, stack: ExitStack) -> None:
        self.bundle, self._folder, self._stack = bundles, folder, stack
        self._made: dict[tuple[str, str, str], Prepared] = {}

    def __call__(self, recipe: str, target: str, graph: str) -> Prepared:
        key = recipe, target, graph
        if key not in self._made:
            bundle = self.bundle(recipe)
            folder = self._folder / "lowered"
            path = self._stack.enter_context(lowered(target, bundle, Graph(graph), folder))
            parsed = parse(target, bundle, Graph(graph), path)
            network = read_network(rtx().module, parsed.network)
            feeds = random_feeds(network, bundle.manifest.config)
            self._made[key] = Prepared(bundle, path, feeds, Reference(path).run(feeds))
        return self._made[key]


@pytest.fixture(scope="module")
def prepared(
    recipe_bundles: Callable[[str], Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Preparing]:
    with ExitStack() as stack:
        yield Preparing(recipe_bundles, tmp_path_factory.mktemp("planted"), stack)


def seen_at(prepared: Preparing, mistake: Mistake) -> list[Difference]:
    """Return the tensors that are beyond their limits after ``mistake``."""
    ready = prepared(mistake.recipe, mistake.target, mistake.graph)
    parsed = parse(mistake.target, ready.bundle, Graph(mistake.graph), ready.path)
    kept = mistake.change(rtx().module, parsed.network)
    network = read_network(rtx().module, parsed.network)
    found = [one for one in teacher_forced(network, ready.feeds, ready.wanted) if one]
    del kept  # weights and constants that the network reads
    return found


@pytest.mark.parametrize(
    "mistake", MISTAKES, ids=[f"{one.layer_type}: {one.name}" for one in MISTAKES]
)
def test_mistake(prepared: Preparing, mistake: Mistake) -> None:
    """A mistake shows at the tensor that it spoils, and nowhere else."""
    found = seen_at(prepared, mistake)
    assert len(found) == 1, [str(one) for one in found]
    assert fnmatchcase(found[0].name, mistake.seen), str(found[0])


def test_every_layer_type(prepared: Preparing, tmp_path: Path) -> None:
    """Each layer type in a target's graphs has a planted mistake, or a reason why it has none."""
    used = set()
    for target in ("tensorrt-rtx", "tensorrt-10.3"):
        for graph in Graph:
            bundle = prepared.bundle("int8")
            network = parsed_network(target, bundle, graph, tmp_path / target)
            used.update(layer.type for layer in network.layers)
    assert used == {*NONE, *(mistake.layer_type for mistake in MISTAKES)}
