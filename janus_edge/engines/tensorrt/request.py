"""A request to build one plan, as an object and as JSON for another process."""

from __future__ import annotations

import base64
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from janus_edge.config import JanusConfig
from janus_edge.engines.tensorrt.api import load
from janus_edge.engines.tensorrt.build import BuiltPlan, build_plan
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.graphs import Graph, engine_signature
from janus_edge.progress import Row
from janus_edge.schema import from_dict, to_dict

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """One plan of one graph with one profile: the arguments of :func:`build_plan`.

    ``target`` names the version of TensorRT that builds.
    """

    target: str
    graph_file: Path
    graph: Graph
    config: JanusConfig
    profile: Profile
    out: Path
    capabilities: tuple[str, ...] = ()
    timing_cache: bytes | None = None
    workspace: int | None = None
    refit: bool = False
    dump: Path | None = None


#: Builds a plan and reports the phases to the row; raises like :func:`build_plan`.
BuildsPlans = Callable[[PlanRequest, Row], BuiltPlan]


def build_here(request: PlanRequest, row: Row) -> BuiltPlan:
    """Build in this process, which keeps TensorRT's memory. Raises like :func:`build_plan`."""
    return build_plan(
        request.graph_file,
        request.graph,
        request.config,
        request.profile,
        load(request.target),
        request.out,
        ports=engine_signature(request.graph, request.config, request.target),
        capabilities=request.capabilities,
        timing_cache=request.timing_cache,
        workspace=request.workspace,
        refit=request.refit,
        dump=request.dump,
        progress=row,
    )


def to_json(value: Any) -> str:
    """Write a dataclass as one line of JSON; bytes are in base64."""
    return json.dumps(to_dict(value), default=_encoded)


def from_json(cls: type[T], data: dict[str, Any]) -> T:
    """Read the dataclass ``cls`` from ``data`` of :func:`to_json`; raises ValueError."""
    decoded = dict(data)
    for name, hint in typing.get_type_hints(cls).items():
        if decoded.get(name) is None:
            continue
        for kind in (hint, *typing.get_args(hint)):
            if kind in _DECODED:
                decoded[name] = _DECODED[kind](decoded[name])
    return from_dict(cls, decoded, error=ValueError)


_DECODED: dict[Any, Callable[[str], Any]] = {
    Path: Path,
    Graph: Graph,
    bytes: base64.b64decode,
}


def _encoded(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
