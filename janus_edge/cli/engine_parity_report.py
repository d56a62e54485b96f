"""`janus-edge parity --engines`: plans of TensorRT against ONNX Runtime, graph by graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from janus_edge.cli.console import byte_tasks, print_json, print_table
from janus_edge.errors import DependencyError, InputError, ParityError

if TYPE_CHECKING:
    from janus_edge.bundle import Bundle
    from janus_edge.engine import Engine
    from janus_edge.engine_manifest import LanguagePlan
    from janus_edge.engines.polygraphy_parity import BadValue, GraphParity, Runners
    from janus_edge.graphs import Graph

#: New tokens of the prefill that is compared, where the engine takes as many.
_PREFILL = 16

#: Name prefixes of the cache outputs, which share one figure.
_CACHES = ("present_", "new_")


def report_engines(reference: str, engine: str, *, seed: int, as_json: bool) -> None:
    """Compare every plan of ``engine`` with the graph of ``reference`` that it was built from.

    Where a graph misses its tolerance, it is bisected for the layer, which builds a dozen parts.
    Raises InputError for an engine of another bundle or target, EngineError and DependencyError
    where something cannot run, ParityError for a miss.
    """
    try:
        from janus_edge.engines.polygraphy_parity import PolygraphyRunners
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "onnx", "engines") from missing
    from janus_edge.bundle import Bundle
    from janus_edge.engine import Engine
    from janus_edge.graphs import Graph

    bundle, built = Bundle.open(reference), Engine.open(engine)
    _check(bundle, built)
    runners = PolygraphyRunners(built.manifest.target)
    found: dict[str, GraphParity] = {}
    culprits: dict[str, BadValue | None] = {}
    with byte_tasks() as task:
        for graph in Graph:
            with task(graph.value) as row:
                row.state("compare")
                found[graph.value] = _compared(runners, bundle, built, graph, seed)
                if not found[graph.value]:
                    row.state("bisect")
                    culprits[graph.value] = _culprit(runners, bundle, built, graph, seed)
    if as_json:
        _print_json(found, culprits)
    else:
        _print_table(engine, found, culprits)
    missed = [name for name, parity in found.items() if not parity]
    if missed:
        raise ParityError(
            f"{engine}: {', '.join(missed)} computed with TensorRT misses the tolerance: see the table"
        )


def _check(bundle: Bundle, engine: Engine) -> None:
    """Raise InputError unless the engine's plans were built from this bundle."""
    built = engine.manifest
    if not built.target.startswith("tensorrt"):
        raise InputError(
            f"{engine.path}: was built for {built.target}, and --engines compares plans of TensorRT; "
            "leave the option out"
        )
    if built.bundle.digest != bundle.digest:
        raise InputError(
            f"{engine.path}: was built from another bundle ({built.bundle.path}) than {bundle.path}; "
            "name that one first"
        )


def _compared(
    runners: Runners, bundle: Bundle, engine: Engine, graph: Graph, seed: int
) -> GraphParity:
    """Compare all profiles of a graph's plans, each with calls of its own size."""
    from janus_edge.engines.polygraphy_parity import GraphParity, compare_plan

    outputs: dict[str, Any] = {}
    for part in _parts(engine, graph):
        feeds = _feeds(bundle, graph, part, seed)
        parity = compare_plan(
            runners, engine.file(part.file), bundle.graph(graph), feeds,
            bundle.manifest.recipe.float_type, profile=part.profile,
        )  # fmt: skip
        outputs |= {f"{part.name} {n}".strip(): d for n, d in parity.outputs.items()}
    return GraphParity(outputs)


@dataclass(frozen=True, slots=True)
class _Part:
    """A profile of a plan, with its label and the call to compare."""

    name: str
    file: str
    profile: int
    new: int
    capacity: int
    pictures: int


def _parts(engine: Engine, graph: Graph) -> list[_Part]:
    """The profiles of all plans of a graph; for the language model prefill, window if any, decode.

    A label includes the capacity if it is not the first one.
    """
    manifest = engine.manifest
    if graph.value != "language_model":
        return [_Part("", manifest.graphs[graph.value].file, 0, 1, 1, 1)]
    found = []
    for plan in manifest.plans:
        suffix = "" if plan.capacity == manifest.capacities[0] else f" {plan.capacity}"
        pictures = max(1, plan.rows.smallest // 2)
        for number, profile in enumerate(plan.profiles):
            name = _profile_name(plan, number)
            new = profile.new_tokens
            size = min(_PREFILL, new.largest) if name == "prefill" else new.typical
            found.append(_Part(name + suffix, plan.file, number, size, plan.capacity, pictures))
    return found


def _profile_name(plan: LanguagePlan, number: int) -> str:
    """Prefill first, decode last and for one token, a window between them."""
    last = number == len(plan.profiles) - 1
    if last and plan.profiles[number].new_tokens.largest == 1:
        return "decode"
    return "prefill" if number == 0 else "window"


def _feeds(bundle: Bundle, graph: Graph, part: _Part, seed: int) -> Any:
    from janus_edge.engines.parity_feeds import seeded_feeds

    manifest = bundle.manifest
    return seeded_feeds(
        graph, manifest.config, manifest.recipe.float_type, seed=seed, new_tokens=(part.new,),
        capacity=part.capacity, pictures=part.pictures,
    )  # fmt: skip


def _culprit(
    runners: Runners, bundle: Bundle, engine: Engine, graph: Graph, seed: int
) -> BadValue | None:
    """Bisect the graph as the target rewrote it, since the parser cannot read the original."""
    from janus_edge.engines.polygraphy_parity import first_bad_value
    from janus_edge.engines.targets import target
    from janus_edge.engines.tensorrt_target import TensorRTTarget

    made = target(engine.manifest.target, bundle.manifest.config)
    assert isinstance(made, TensorRTTarget)  # `_check` refuses the others
    (feed,) = _feeds(bundle, graph, _parts(engine, graph)[0], seed)
    float_type = bundle.manifest.recipe.float_type
    with made.lowered(bundle.graph(graph), graph, engine.path) as (path, _):
        return first_bad_value(runners, path, feed, float_type, engine.path)


def _print_table(
    engine: str, found: dict[str, GraphParity], culprits: dict[str, BadValue | None]
) -> None:
    rows = [
        (
            graph,
            output,
            f"{d.max_abs:.1e}",
            "" if d.snr_db is None else f"{d.snr_db:.1f}",
            f">= {d.tolerance:g} dB" if d.measure == "snr_db" else f"<= {d.tolerance:g}",
            "pass" if d else "FAIL",
        )
        for graph, parity in found.items()
        for output, d in parity.outputs.items()
        if not d or not output.split()[-1].startswith(_CACHES)
    ]
    columns = ["graph", "output", "max>", "SNR dB>", "needs>", ">"]
    print_table(f"{engine} against ONNX Runtime", columns, rows)
    caches = [
        d for p in found.values() for n, d in p.outputs.items() if n.split()[-1].startswith(_CACHES)
    ]
    click.echo(f"{sum(map(bool, caches))} of {len(caches)} updated caches within their tolerance")
    for graph, culprit in culprits.items():
        click.echo(f"{graph}: {_told(culprit)}")


def _told(culprit: BadValue | None) -> str:
    if culprit is None:
        return "no part of it misses the tolerance when it is built alone"
    before = (
        "the first that was tried" if culprit.before is None else f"behind {culprit.before.name}"
    )
    return f"first wrong at {culprit.value.name}, {before} ({culprit.builds} parts were built)"


def _print_json(found: dict[str, GraphParity], culprits: dict[str, BadValue | None]) -> None:
    from janus_edge.schema import to_dict

    print_json(
        {
            "graphs": {
                graph: {
                    name: {**to_dict(d), "passed": bool(d)} for name, d in parity.outputs.items()
                }
                for graph, parity in found.items()
            },
            "first_wrong": {
                graph: None if culprit is None else culprit.value.name
                for graph, culprit in culprits.items()
            },
            "passed": all(found.values()),
        }
    )
