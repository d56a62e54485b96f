"""`janus-edge info` and `janus-edge verify`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import byte_tasks, print_json, print_table, size
from janus_edge.errors import InputError

if TYPE_CHECKING:
    from janus_edge.bundle import Bundle
    from janus_edge.engine_manifest import EngineManifest, GraphBuild, Range
    from janus_edge.graphs import Port


#: Notes of a graph that are printed; a manifest has all.
_NOTES = 3

#: Types of layers that multiply matrices: their precision decides speed and size.
_PRODUCTS = ("MATRIX_MULTIPLY", "CONVOLUTION")


@click.command(short_help="Show what a bundle or an engine holds.")
@click.argument("bundle", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="The whole manifest, for machines.")
@click.option(
    "--memory",
    is_flag=True,
    help="Instead: the memory that running takes, and what 8 to 64 GB leave.",
)
@click.option("--rows", type=int, help="With --memory: rows when painting, two per picture.  [2]")
@click.option("--capacity", type=int, help="With --memory: positions of the KV cache.")
def info(bundle: str, as_json: bool, memory: bool, rows: int | None, capacity: int | None) -> None:
    """Show what a BUNDLE holds: dimensions, graphs, sizes, precision, parity.

    Of an engine: what it was built from, for and with, and what was done to each graph.

    \b
    Example:  janus-edge info janus-1b
    Example:  janus-edge info janus-1b --memory --rows 8
    """
    from janus_edge.engine import open_bundle_or_engine
    from janus_edge.schema import to_dict

    for option, value in (("--rows", rows), ("--capacity", capacity)):
        if value is not None and not memory:
            raise InputError(f"{option} is for --memory: give both, or leave it out")
    opened = open_bundle_or_engine(bundle, verify=False)
    if memory:
        from janus_edge.cli.memory_report import report_memory

        report_memory(opened, 2 if rows is None else rows, capacity, as_json=as_json)
        return
    if as_json:
        print_json({"path": str(opened.path), "digest": opened.digest, **to_dict(opened.manifest)})
        return
    _print_dimensions(opened)
    _print_graphs(opened)


@click.command(short_help="Check every file of a bundle or an engine against its hash.")
@click.argument("bundle", type=click.Path())
def verify(bundle: str) -> None:
    """Hash every file of a BUNDLE, or an engine, again and compare with its manifest.

    Example:  janus-edge verify janus-1b
    """
    from janus_edge.engine import open_bundle_or_engine

    opened = open_bundle_or_engine(bundle)
    with byte_tasks() as task, task("hashes") as row:
        row.begin(opened.total_bytes)
        opened.verify(row.advance)
    click.echo(
        f"{bundle}: {len(opened.manifest.files)} files, {size(opened.total_bytes)}, all as written"
    )


def passes_line(build: GraphBuild) -> str:
    """What lowering passes did to a graph: ``skip_norm 48, folded_constants 3``; '' for nothing."""
    return ", ".join(
        f"{name} {done.changed}" for name, done in build.passes.items() if done.changed
    )


def note_lines(name: str, build: GraphBuild) -> list[str]:
    """What differs in an engine from its bundle's graph; the first few of each graph."""
    hidden = len(build.notes) - _NOTES
    more = [f"and {hidden} more in the manifest"] if hidden > 0 else []
    return [f"{name}: {note}" for note in (*build.notes[:_NOTES], *more)]


def _print_dimensions(bundle: Bundle) -> None:
    from janus_edge.engine import Engine

    manifest = bundle.manifest
    vision, vq, lm = manifest.config.vision, manifest.config.vq, manifest.config.language
    multiplier = ", ".join(map(str, vq.channel_multiplier))
    rows = [
        ("source", f"{manifest.source.name} ({manifest.source.format} format)"),
        ("precision", manifest.recipe.name),
        ("size", f"{size(bundle.total_bytes)} in {len(manifest.files)} files"),
        (
            "picture",
            f"{vision.image_size} x {vision.image_size} px, {manifest.config.image_tokens} codes",
        ),
        (
            "language model",
            f"{lm.layers} layers, hidden {lm.hidden_size}, {lm.heads} heads, MLP {lm.intermediate_size}, "
            f"vocabulary {lm.vocab_size}, {lm.max_positions} positions",
        ),
        (
            "vision encoder",
            f"{vision.layers} layers, hidden {vision.hidden_size}, {vision.heads} heads",
        ),
        (
            "VQ",
            f"codebook {vq.codebook_size} x {vq.codebook_dim}, {vq.base_channels} channels x [{multiplier}]",
        ),
        ("made with", ", ".join(f"{tool} {version}" for tool, version in manifest.tools.items())),
    ]
    if isinstance(bundle, Engine):
        rows += _engine_rows(bundle.manifest)
    print_table(str(bundle.path), ["", ""], rows)


def _engine_rows(manifest: EngineManifest) -> list[tuple[str, str]]:
    device = manifest.compute_capability
    return [
        ("engine for", manifest.target + (f", compute capability {device}" if device else "")),
        ("built from", f"{manifest.bundle.path} (digest {manifest.bundle.digest[:16]})"),
        ("built in", f"{manifest.build_seconds:.1f} s"),
        *(("plan", line) for line in plan_lines(manifest)),
        *((option.replace("-", " "), value or "yes") for option, value in manifest.options.items()),
    ]


def plan_lines(manifest: EngineManifest) -> list[str]:
    """The plans of the language model, each with its capacity and sizes."""
    return [
        f"{plan.name}: capacity {plan.capacity}, rows {_range(plan.rows)}, new tokens "
        + "; ".join(_range(profile.new_tokens) for profile in plan.profiles)
        for plan in manifest.plans
    ]


def _range(sizes: Range) -> str:
    """Format a range as ``1 to 8 (2)``, tuned size in parentheses, or as one number."""
    if sizes.smallest == sizes.largest:
        return str(sizes.largest)
    return f"{sizes.smallest} to {sizes.largest} ({sizes.typical})"


def _print_graphs(bundle: Bundle) -> None:
    from janus_edge.engine import Engine
    from janus_edge.graphs import Graph

    for graph in Graph:
        entry = bundle.manifest.graphs[graph.value]
        if isinstance(bundle, Engine):
            remark = _build_line(bundle.manifest.builds[graph.value])
        else:
            remark = f"against PyTorch {_figure(bundle.manifest.parity.get(graph.value))}"
        click.secho(f"{graph.value:<18}", nl=False, bold=True)
        click.echo(f"{size(bundle.graph_bytes(graph)):>10}   {remark}")
        if isinstance(bundle, Engine) and bundle.manifest.builds[graph.value].precisions:
            click.echo(f"  layers  {_precisions_line(bundle.manifest.builds[graph.value])}")
        for side, ports in (("in", entry.inputs), ("out", entry.outputs)):
            for line in _summary(ports):
                click.echo(f"  {side:<3}  {line}")
        if isinstance(bundle, Engine) and graph is Graph.LANGUAGE_MODEL:
            for plan in bundle.manifest.plans[1:]:
                nbytes = bundle.manifest.files[plan.file].size
                click.echo(f"  and  {plan.name}  {size(nbytes)}   {_build_line(plan.build)}")


def _build_line(build: GraphBuild) -> str:
    parts = [f"weights {size(build.weight_bytes)}"]
    if build.device_weight_bytes is not None:
        parts.append(f"on the device {size(build.device_weight_bytes)}")
    if build.workspace_bytes is not None:
        parts.append(f"workspace {size(build.workspace_bytes)}")
    if build.attention:
        parts.append(f"attention {build.attention}")
    return ", ".join([*parts, passes_line(build)]).rstrip(", ")


def _precisions_line(build: GraphBuild) -> str:
    """Layers of the network by precision, products apart: ``HALF 310, FLOAT 12 (products HALF 42)``."""
    every, products = Counter[str](), Counter[str]()
    for layers, count in build.precisions.items():
        kind, _, precision = layers.partition(" ")
        every[precision] += count
        products[precision] += count if kind in _PRODUCTS else 0
    told, inside = (
        ", ".join(f"{precision} {count}" for precision, count in some.most_common() if count)
        for some in (every, products)
    )
    return f"{told} (products {inside})" if inside else told


def _summary(ports: Sequence[Port]) -> Iterator[str]:
    """One port a line, but of the caches only the first layer's."""
    layers = sum("_key." in port.name for port in ports)
    for port in ports:
        name, _, layer = port.name.partition(".")
        shape = ", ".join(map(str, port.shape))
        if layer in ("", "0"):
            again = f" ... {name}.{layers - 1}" if layers > 1 and layer else ""
            yield f"{port.name}{again}  {port.dtype} [{shape}]"


def _figure(parity: object) -> str:
    from janus_edge.compare import Difference

    if not isinstance(parity, Difference):
        return ""
    if parity.max_abs == 0:
        return "exact"
    if parity.measure == "snr_db":
        return f"{parity.snr_db:.1f} dB"
    return "" if parity.top1 is None else f"{parity.top1:.2%} equal"
