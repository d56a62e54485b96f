"""A target that copies every graph as it is: what surrounds building needs no more."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from janus_edge.bundle import Bundle
from janus_edge.engine_manifest import GraphBuild, Profile
from janus_edge.engines.build import BuiltGraph, copy_file
from janus_edge.graphs import Graph
from janus_edge.progress import Row


@dataclass
class Copying:
    """``built`` are the graphs that it was asked for; it raises ``failure`` at the fifth."""

    name: str = "copying"
    compute_capability: str | None = None
    profiles: tuple[Profile, ...] = ()
    versions: dict[str, str] = field(default_factory=lambda: {"copier": "1.2.3"})
    failure: BaseException | None = None
    built: list[Graph] = field(default_factory=list)

    def tools(self) -> dict[str, str]:
        return self.versions

    def check(self, bundle: Bundle) -> None:
        pass

    def build(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        if self.failure and len(self.built) == 4:
            raise self.failure
        self.built.append(graph)
        entry = bundle.manifest.graphs[graph.value]
        for name in (entry.file, *entry.weights):
            copy_file(bundle, name, folder)
        return BuiltGraph(entry, GraphBuild(bundle.graph_bytes(graph), 7, {}))
