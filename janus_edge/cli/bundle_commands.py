"""`janus-edge info` and `janus-edge verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import byte_tasks, print_json, print_table, size

if TYPE_CHECKING:
    from janus_edge.bundle import Bundle


@click.command()
@click.argument("bundle", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="The whole manifest, for machines.")
def info(bundle: str, as_json: bool) -> None:
    """Show what a BUNDLE holds: dimensions, graphs, sizes, precision, parity.

    Example:  janus-edge info janus-1b
    """
    from janus_edge.bundle import Bundle
    from janus_edge.schema import to_dict

    opened = Bundle.open(bundle, verify=False)
    if as_json:
        print_json({"path": str(opened.path), "digest": opened.digest, **to_dict(opened.manifest)})
        return
    _print_dimensions(opened)
    _print_graphs(opened)


@click.command()
@click.argument("bundle", type=click.Path())
def verify(bundle: str) -> None:
    """Hash every file of a BUNDLE again and compare with its manifest.

    Example:  janus-edge verify janus-1b
    """
    from janus_edge.bundle import Bundle

    opened = Bundle.open(bundle)
    with byte_tasks() as task, task("hash", opened.total_bytes) as progress:
        opened.verify(progress)
    click.echo(
        f"{bundle}: {len(opened.manifest.files)} files, {size(opened.total_bytes)}, all as written"
    )


def _print_dimensions(bundle: Bundle) -> None:
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
    print_table(str(bundle.path), ["", ""], rows)


def _print_graphs(bundle: Bundle) -> None:
    from janus_edge.graphs import Graph

    rows = []
    for graph in Graph:
        entry = bundle.manifest.graphs[graph.value]
        parity = bundle.manifest.parity.get(graph.value)
        ports = [_summary(list(map(str, side))) for side in (entry.inputs, entry.outputs)]
        rows.append((graph.value, *ports, size(bundle.graph_bytes(graph)), _figure(parity)))
    print_table("graphs", ["name", "inputs", "outputs", "size>", "parity>"], rows)


def _summary(ports: list[str]) -> str:
    """One port a line; the caches of all layers but the first as one line."""
    caches = [p for p in ports if "_key." in p or "_value." in p]
    shown = [p for p in ports if p not in caches[2:]]
    if caches[2:]:
        shown.append(f"... {len(caches) // 2} layers")
    return "\n".join(shown)


def _figure(parity: object) -> str:
    from janus_edge.compare import Difference

    if not isinstance(parity, Difference):
        return ""
    if parity.measure == "snr_db":
        return f"{parity.snr_db:.1f} dB"
    return f"{parity.top1:.2%} equal"
