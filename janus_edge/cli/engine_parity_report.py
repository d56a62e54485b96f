"""`janus-edge parity --engines`: plans of TensorRT against ONNX Runtime, graph by graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from janus_edge.cli.console import byte_tasks, print_json, print_table
from janus_edge.errors import DependencyError, InputError, ParityError

if TYPE_CHECKING:
    from janus_edge.bundle import Bundle
    from janus_edge.engine import Engine
    from janus_edge.engines.polygraphy_parity import BadValue, GraphParity, Runners
    from janus_edge.graphs import Graph

#: New tokens of the prefill that is compared, where the engine takes as many.
_PREFILL = 16


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
    """All profiles of a plan, each with calls that it takes."""
    from janus_edge.engines.polygraphy_parity import GraphParity, compare_plan

    outputs: dict[str, Any] = {}
    for profile, new in _profiles(engine, graph):
        feeds = _feeds(bundle, engine, graph, new, seed)
        parity = compare_plan(
            runners, engine.graph(graph), bundle.graph(graph), feeds,
            bundle.manifest.recipe.float_type, profile=profile,
        )  # fmt: skip
        name = _profile_name(engine, graph, profile)
        outputs |= {f"{name} {n}".strip(): d for n, d in parity.outputs.items()}
    return GraphParity(outputs)


def _profiles(engine: Engine, graph: Graph) -> list[tuple[int, int]]:
    """Numbers of a plan's profiles, and the new tokens to compare each with."""
    if graph.value != "language_model":
        return [(0, 1)]
    prefill, *others = (profile.new_tokens for profile in engine.manifest.profiles)
    new = [min(_PREFILL, prefill.largest), *(tokens.typical for tokens in others)]
    return [*enumerate(new)]


def _profile_name(engine: Engine, graph: Graph, profile: int) -> str:
    """Prefill first, decode last, a window between them."""
    if graph.value != "language_model":
        return ""
    last = len(engine.manifest.profiles) - 1
    return {0: "prefill", last: "decode"}.get(profile, "window")


def _feeds(bundle: Bundle, engine: Engine, graph: Graph, new: int, seed: int) -> Any:
    from janus_edge.engines.parity_feeds import seeded_feeds

    manifest = bundle.manifest
    return seeded_feeds(
        graph, manifest.config, manifest.recipe.float_type, seed=seed, new_tokens=(new,),
        capacity=engine.manifest.profiles[0].capacity.largest,
    )  # fmt: skip


def _culprit(
    runners: Runners, bundle: Bundle, engine: Engine, graph: Graph, seed: int
) -> BadValue | None:
    """Bisect the graph as the target rewrote it: the parser takes no other."""
    from janus_edge.engines.polygraphy_parity import first_bad_value
    from janus_edge.engines.targets import target
    from janus_edge.engines.tensorrt_target import TensorRTTarget

    made = target(engine.manifest.target, bundle.manifest.config)
    assert isinstance(made, TensorRTTarget)  # `_check` refuses the others
    (feed,) = _feeds(bundle, engine, graph, _profiles(engine, graph)[0][1], seed)
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
        if not d or not output.split()[-1].startswith("present_")
    ]
    columns = ["graph", "output", "max>", "SNR dB>", "needs>", ">"]
    print_table(f"{engine} against ONNX Runtime", columns, rows)
    caches = [
        d for p in found.values() for n, d in p.outputs.items() if n.split()[-1].startswith("pres")
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
