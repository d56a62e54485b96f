"""`janus-edge build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import byte_tasks, print_json, print_table, size
from janus_edge.errors import DependencyError

if TYPE_CHECKING:
    from janus_edge.engine import Engine


@click.command(short_help="Build an engine: a bundle made for one device.")
@click.argument("bundle", type=click.Path())
@click.argument("out", type=click.Path())
@click.option("--target", required=True, help="What to build for: ort-cpu.")
@click.option("--force", is_flag=True, help="Replace an existing engine once the new one is complete.")  # fmt: skip
@click.option("--no-cache", is_flag=True, help="Build in any case, and keep nothing in the cache.")
@click.option("--json", "as_json", is_flag=True, help="Print the engine's manifest as JSON.")
def build(bundle: str, out: str, target: str, force: bool, no_cache: bool, as_json: bool) -> None:
    """Write BUNDLE to OUT as an engine: its graphs rewritten for one kind of device.

    An engine holds everything that running needs, and every command that takes a bundle to run it
    takes an engine in its place.

    Engines are kept in a cache, $JANUS_EDGE_CACHE or else ~/.cache/janus-edge, from which building
    the same again takes the time of checking its hashes. It may be removed at any time.

    Example:  janus-edge build janus-1b janus-1b-cpu --target ort-cpu
    """
    try:
        from janus_edge.engines.build import build_engine
        from janus_edge.engines.cache import EngineCache, default_root
        from janus_edge.engines.targets import target as target_named
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "onnx", "engines") from missing
    from janus_edge.bundle import Bundle

    wanted = target_named(target)
    opened = Bundle.open(bundle)
    cache = None if no_cache else EngineCache(default_root())
    with byte_tasks() as task:
        done = build_engine(opened, wanted, out, force=force, cache=cache, task=task)
    if as_json:
        from janus_edge.schema import to_dict

        print_json({"path": out, "cached": done.cached, **to_dict(done.engine.manifest)})
        return
    _show(done.engine)
    seconds = f"{done.engine.manifest.build_seconds:.1f} s"
    click.echo(
        f"{out}: {size(done.engine.total_bytes)}, {target}; "
        + (f"from the cache, built in {seconds} before" if done.cached else f"built in {seconds}")
    )


def _show(engine: Engine) -> None:
    from janus_edge.cli.bundle_commands import passes_line
    from janus_edge.graphs import Graph

    rows = [
        (graph.value, size(engine.graph_bytes(graph)), passes_line(build) or "as in the bundle")
        for graph in Graph
        if (build := engine.manifest.builds[graph.value])
    ]
    print_table("", ["graph", "size>", "rewritten"], rows)
