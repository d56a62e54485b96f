"""What an engine's ``manifest.json`` says: a bundle's manifest, and how it was built for a target."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from janus_edge.errors import EngineError
from janus_edge.graphs import Graph, Signature, engine_signature
from janus_edge.manifest import Kind, Manifest, check_relative

#: Rises when a manifest written by this version cannot be read by an older one.
ENGINE_SCHEMA_VERSION = 2

ENGINE = Kind("engine", "an", "build", "built", ENGINE_SCHEMA_VERSION, EngineError, EngineError)


@dataclass(frozen=True, slots=True)
class BuiltFrom:
    """The bundle that an engine was built from: its digest, and where it was then."""

    digest: str
    path: str


@dataclass(frozen=True, slots=True)
class Range:
    """The sizes that an engine takes in one dimension; it is tuned for ``typical``."""

    smallest: int
    typical: int
    largest: int

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.typical <= self.largest:
            raise ValueError(
                f"1 <= smallest <= typical <= largest must hold, found {self.smallest}, "
                f"{self.typical}, {self.largest}"
            )


@dataclass(frozen=True, slots=True)
class Profile:
    """Shapes that the language model of an engine is built for, in the symbols of `graphs.py`.

    ``rows`` is B, ``new_tokens`` S (the length of a prefill, or 1), ``capacity`` C.
    """

    rows: Range
    new_tokens: Range
    capacity: Range


@dataclass(frozen=True, slots=True)
class PassReport:
    """How many places a lowering pass rewrote, and why it left others ('node: reason')."""

    changed: int
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GraphBuild:
    """What building did to one graph.

    ``weight_bytes`` are those of the lowered graph's constants; ``workspace_bytes`` is the scratch
    memory that a run takes, None where only the run itself tells (ONNX Runtime). ``passes`` are in
    the order in which they ran. ``device_weight_bytes`` is what the weights take once they are
    loaded, None where the builder does not say; ``precisions`` counts the layers of the network that
    was built by type and precision ('MATRIX_MULTIPLY HALF'), empty where there is no network.
    ``attention`` is 'fused', or 'decomposed' if TensorRT found no fused kernel and built attention from
    several; '' without attention layers. ``notes`` say where the engine's types or sizes differ from the
    bundle's.
    """

    weight_bytes: int
    workspace_bytes: int | None
    passes: dict[str, PassReport]
    device_weight_bytes: int | None = None
    precisions: dict[str, int] = field(default_factory=dict)
    attention: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.attention not in ("", "fused", "decomposed"):
            raise ValueError(f"attention must be 'fused' or 'decomposed', found {self.attention!r}")
        for name in ("weight_bytes", "workspace_bytes", "device_weight_bytes"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative")


@dataclass(frozen=True, slots=True)
class LanguagePlan:
    """One plan file of `language_model`, for a cache of ``capacity`` positions.

    ``profiles`` are its optimisation profiles in order: prefill, window if any, decode. A split plan has
    only the prefill (and window) profiles, or only the decode profile. All plans hold the same weights.
    """

    name: str
    file: str
    profiles: tuple[Profile, ...]
    build: GraphBuild

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ValueError(f"{self.name!r} is not a valid plan name")
        if len({profile.capacity for profile in self.profiles}) != 1:
            raise ValueError("the profiles of a plan must have one capacity")
        if len({profile.rows for profile in self.profiles}) != 1:
            raise ValueError("the profiles of a plan must have the same rows")

    @property
    def capacity(self) -> int:
        """C."""
        return self.profiles[0].capacity.largest

    @property
    def rows(self) -> Range:
        """B, the range of rows; smallest and largest are equal if the plan takes only one number."""
        return self.profiles[0].rows


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineManifest(Manifest):
    """Everything that a reader of an engine needs to know before opening a graph.

    ``tools`` are the versions that it was built with and ``graphs`` the files of the target, with
    the inputs and outputs of `graphs.engine_signature`; ``parity`` is empty, since a bundle's
    figures are for other graphs. ``key`` is its name in the engine cache. ``compute_capability`` is None
    for a CPU, and lists several, separated by commas, if the engine fits several GPUs. ``plans`` are the
    language model's, smallest capacity first; they are empty for a target whose graphs take any shape.
    The file and build of the first plan are also those of the graph `language_model`. ``options`` are the
    other options it was built with, named as on the command line without leading hyphens ('prepack').
    """

    KIND: ClassVar[Kind] = ENGINE

    kind: str
    key: str
    bundle: BuiltFrom
    target: str
    compute_capability: str | None
    plans: tuple[LanguagePlan, ...]
    builds: dict[str, GraphBuild]
    build_seconds: float
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Manifest.__post_init__(self)
        if self.kind != ENGINE.name:
            raise ValueError(f"kind must be {ENGINE.name!r}, found {self.kind!r}")
        if self.builds.keys() != self.graphs.keys():
            raise ValueError("'builds' must tell of every graph, and of no other")
        if not (math.isfinite(self.build_seconds) and self.build_seconds >= 0):
            raise ValueError(f"build_seconds must be finite and not negative: {self.build_seconds}")
        self._check_plans()

    def ports_of(self, graph: Graph) -> Signature:
        """The inputs and outputs that ``graph`` must have in an engine of this target."""
        return engine_signature(graph, self.config, self.target, self.recipe.cache)

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles of all plans, in order."""
        return tuple(profile for plan in self.plans for profile in plan.profiles)

    @property
    def capacities(self) -> tuple[int, ...]:
        """The capacities of the plans, smallest first; empty if graphs take any capacity."""
        return tuple(sorted({plan.capacity for plan in self.plans}))

    @property
    def split(self) -> bool:
        """Whether prefill and decode are separate plans."""
        return len(self.plans) > len(self.capacities)

    def capacity_for(self, positions: int) -> int | None:
        """The smallest capacity of a plan that holds ``positions``; None if no plan does."""
        return next((one for one in self.capacities if one >= positions), None)

    def _check_plans(self) -> None:
        for plan in self.plans:
            check_relative(plan.file)
            if self.files and plan.file not in self.files:
                raise ValueError(f"{plan.file!r} is used but not listed under 'files'")
        if len({plan.name for plan in self.plans}) != len(self.plans):
            raise ValueError("two plans have the same name")
        found = [plan.capacity for plan in self.plans]
        if found != sorted(found):
            raise ValueError("the capacities of the plans must increase")
        if len({plan.rows for plan in self.plans}) > 1:
            raise ValueError("all plans must have the same rows")
        first = self.graphs[Graph.LANGUAGE_MODEL.value].file
        if self.plans and self.plans[0].file != first:
            raise ValueError(f"the first plan must be {first!r}, the file of language_model")
