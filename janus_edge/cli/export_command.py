"""`janus-edge export`."""

from __future__ import annotations

import click

from janus_edge.cli.console import byte_tasks, size
from janus_edge.errors import DependencyError
from janus_edge.recipe import RECIPES


@click.command(short_help="Turn a checkpoint into a bundle of ONNX graphs.")
@click.argument("checkpoint")
@click.argument("bundle", type=click.Path())
@click.option(
    "--precision",
    type=click.Choice(list(RECIPES)),
    default="fp32",
    show_default=True,
    help="Float type of the graphs. CPUs want fp32; fp16 and bf16 are for GPUs.",
)
@click.option(
    "--force", is_flag=True, help="Replace an existing bundle once the new one is complete."
)
def export(checkpoint: str, bundle: str, precision: str, force: bool) -> None:
    """Turn a Janus CHECKPOINT into a BUNDLE of ONNX graphs.

    CHECKPOINT is a folder in the deepseek-ai or the transformers format, the id of one on the
    Hugging Face hub, or 'miniature', the small model that is shipped. Every graph is checked
    against PyTorch before the bundle appears; memory grows with the largest matrix, not with the
    number of layers.

    Example:  janus-edge export deepseek-ai/Janus-Pro-1B janus-1b
    """
    try:
        from janus_edge.export.checkpoint import Checkpoint
        from janus_edge.export.exporter import export_bundle
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "torch", "export") from missing
    source = Checkpoint.open(checkpoint)
    with byte_tasks() as task:
        written = export_bundle(source, bundle, RECIPES[precision], force=force, task=task)
    click.echo(f"{bundle}: {size(written.total_bytes)}, {precision}, all graphs agree with PyTorch")
