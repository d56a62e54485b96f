"""What an engine's ``manifest.json`` says: a bundle's manifest, and how it was built for a target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from janus_edge.errors import EngineError
from janus_edge.manifest import Kind, Manifest

#: Rises when a manifest written by this version cannot be read by an older one.
ENGINE_SCHEMA_VERSION = 1

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


def profile_option(profiles: Sequence[Profile]) -> str:
    """What `janus-edge build --profile` is to be given for engines of these ``profiles``.

    The first one is the prefill's, the last the decoding's, and one in between a window's; where
    smallest sizes are above 1 they are not told.
    """
    prefill, *between = profiles[:-1] or profiles
    sizes = {"rows": prefill.rows, "prefill": prefill.new_tokens}
    for window in between:
        sizes["window"] = window.new_tokens
    words = [f"{name}={size.typical}:{size.largest}" for name, size in sizes.items()]
    return ",".join([*words, f"capacity={prefill.capacity.largest}"])


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
    ``attention`` is 'fused', or 'decomposed' where no fused kernel was found and the attention is built
    from several; '' without attention layers. ``notes`` say where the engine's types or sizes are not
    the bundle's.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineManifest(Manifest):
    """Everything that a reader of an engine needs to know before opening a graph.

    ``tools`` are the versions that it was built with and ``graphs`` the files of the target, with
    the inputs and outputs that a bundle's have; ``parity`` is empty, since a bundle's figures are of
    other graphs. ``key`` is what the engine cache calls it, ``compute_capability`` is None for a
    CPU, and names several, separated by commas, where an engine fits several GPUs. ``profiles`` are
    empty for a target whose graphs take any shape. ``options`` are what else the engine was asked to
    be, by the names of the command line's options without hyphens in front ('weight-streaming').
    """

    KIND: ClassVar[Kind] = ENGINE

    kind: str
    key: str
    bundle: BuiltFrom
    target: str
    compute_capability: str | None
    profiles: tuple[Profile, ...]
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
