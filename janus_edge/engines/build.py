"""From a bundle to an engine for one target, through the engine cache."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from janus_edge.bundle import Bundle, files_below
from janus_edge.bundle_writer import FolderWriter
from janus_edge.engine import Engine
from janus_edge.engine_manifest import (
    ENGINE,
    ENGINE_SCHEMA_VERSION,
    BuiltFrom,
    EngineManifest,
    GraphBuild,
    LanguagePlan,
    Profile,
)
from janus_edge.engines.cache import EngineCache, Ingredients
from janus_edge.engines.sources import sources_digest
from janus_edge.errors import EngineError, InputError
from janus_edge.graphs import Graph
from janus_edge.manifest import GraphEntry
from janus_edge.progress import Row, Task, silent
from janus_edge.target_limits import refusal


@dataclass(frozen=True, slots=True)
class BuiltGraph:
    """A graph's files in the engine's folder, and what building did to it.

    ``plans`` are the language model's if it was built into several; the file and build of the first are
    also the graph's.
    """

    entry: GraphEntry
    build: GraphBuild
    plans: tuple[LanguagePlan, ...] = ()


class Target(Protocol):
    """Builds the graphs of a bundle for one kind of device.

    What it builds may depend on nothing but the bundle, what it answers here, and the code of its
    class' module and of what that imports of this stage: the cache knows engines by these.
    """

    @property
    def name(self) -> str:
        """What the command line calls it."""
        ...

    @property
    def compute_capability(self) -> str | None:
        """The device's ('8.7'); None for a CPU."""
        ...

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The language model's profiles in all plans that it builds; empty if graphs take any shape."""
        ...

    def tools(self) -> Mapping[str, str]:
        """Versions of all that an engine depends on, by name; raises DependencyError."""
        ...

    def check(self, bundle: Bundle) -> None:
        """Raise EngineError, with the fix, for a bundle that this target cannot take."""
        ...

    def build(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        """Write ``graph`` below ``folder``; raises EngineError."""
        ...


@runtime_checkable
class HasOptions(Protocol):
    """A target that can be asked for more than shapes."""

    @property
    def options(self) -> Mapping[str, str]:
        """What was asked for, as an engine's manifest has it; empty for nothing."""
        ...


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The engine, and whether it came from the cache."""

    engine: Engine
    cached: bool


def build_engine(
    bundle: Bundle,
    target: Target,
    out: str | Path,
    *,
    force: bool = False,
    cache: EngineCache | None = None,
    task: Task = silent,
) -> BuildResult:
    """Write the engine of ``bundle`` for ``target`` to ``out``; all of it or nothing.

    With ``cache`` one that was built from the same before is taken from there, and a new one is
    kept there. With ``force`` an engine at ``out`` is replaced once the new one is complete. Raises
    EngineError, and InputError for an ``out`` that cannot be written or is inside the bundle.
    """
    check_outside(bundle, Path(out))
    target.check(bundle)
    tools, origin = dict(target.tools()), BuiltFrom(bundle.digest, str(bundle.path.absolute()))
    options = dict(target.options) if isinstance(target, HasOptions) else {}
    key = Ingredients(
        origin.digest, target.name, tools, target.compute_capability, target.profiles,
        sources_digest([__name__, type(target).__module__]), options,
    ).key  # fmt: skip
    with FolderWriter(Engine, out, force=force) as writer:
        if cache:
            found = _from_cache(cache, key, writer, origin, task)
            if found:
                return BuildResult(found, cached=True)
        started = time.perf_counter()
        built = {}
        for graph in Graph:
            with task(graph.value) as row:
                built[graph.value] = target.build(bundle, graph, writer.folder, row)
        for name in (bundle.manifest.tokenizer, bundle.manifest.text_embeddings.file):
            copy_file(bundle, name, writer.folder)
        manifest = EngineManifest(
            schema_version=ENGINE_SCHEMA_VERSION,
            config=bundle.manifest.config,
            special_tokens=bundle.manifest.special_tokens,
            recipe=bundle.manifest.recipe,
            graphs={name: done.entry for name, done in built.items()},
            tokenizer=bundle.manifest.tokenizer,
            text_embeddings=bundle.manifest.text_embeddings,
            source=bundle.manifest.source,
            tools=tools,
            parity={},
            derivation=bundle.manifest.derivation,
            kind=ENGINE.name,
            key=key,
            bundle=origin,
            target=target.name,
            compute_capability=target.compute_capability,
            plans=_plans(built[Graph.LANGUAGE_MODEL.value], target.profiles),
            builds={name: done.build for name, done in built.items()},
            build_seconds=time.perf_counter() - started,
            options=options,
        )
        with task("hashes") as row:
            row.begin(sum(path.stat().st_size for path in files_below(writer.folder)))
            engine = writer.seal(manifest, row.advance)
    if cache:
        cache.keep(engine)
    return BuildResult(engine, cached=False)


def _plans(built: BuiltGraph, profiles: tuple[Profile, ...]) -> tuple[LanguagePlan, ...]:
    """The plans that a target built for the language model; a single plan may be left to us."""
    if built.plans or not profiles:
        return built.plans
    return (LanguagePlan(Graph.LANGUAGE_MODEL.value, built.entry.file, profiles, built.build),)


def check_outside(bundle: Bundle, path: Path) -> None:
    """Raise InputError for a ``path`` inside the bundle, which takes no other files."""
    if path.resolve().is_relative_to(bundle.path.resolve()):
        raise InputError(
            f"{path}: is inside the bundle {bundle.path}, which would then be damaged; choose another "
            "place"
        )


def check_recipe(target: str, bundle: Bundle) -> None:
    """Raise EngineError, with the fix, if ``target`` does not take the bundle's recipe."""
    why = refusal(target, bundle.manifest.recipe)
    if why:
        raise EngineError(f"{bundle.path}: {why}")


def copy_file(bundle: Bundle, name: str, folder: Path) -> None:
    """Copy a file of ``bundle``, its hash checked, to the same place below ``folder``."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle.file(name), folder / name)


def _from_cache(
    cache: EngineCache, key: str, writer: FolderWriter[Engine], origin: BuiltFrom, task: Task
) -> Engine | None:
    with task("cache") as row:
        row.state("look up")
        found = cache.find(key, row.advance)
        return cache.copy(found, writer, origin) if found else None
