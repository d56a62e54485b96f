"""`janus-edge demo`."""

from __future__ import annotations

import shlex
import shutil
from importlib import resources
from pathlib import Path

import click

from janus_edge.errors import DependencyError, InputError

_PROMPTS = ("a red fox sitting in fresh snow", "ein rotes Haus am Meer")


@click.command(short_help="Run the whole path on a small random model.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("janus-demo"), show_default=True,
              help="Where everything goes; emptied first if an earlier demo made it.")  # fmt: skip
def demo(folder: Path) -> None:
    """Run the whole path on a small Janus with random weights.

    Makes a checkpoint of the true architecture, exports it, checks it against PyTorch, paints,
    answers about a photograph and reconstructs it. Random weights paint noise and talk nonsense:
    what the demo shows is that every stage works on this machine.

    Example:  janus-edge demo
    """
    try:
        from janus_edge.export.synthetic import DIMENSIONS, write_synthetic_checkpoint
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "torch", "export") from missing
    marker = folder / ".janus-demo"
    if folder.exists():
        if not marker.exists():
            raise InputError(
                f"{folder}: exists and is not an earlier demo's; choose another --folder"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.touch()
    checkpoint, bundle, pictures = folder / "checkpoint", folder / "bundle", folder / "pictures"
    photo = folder / "astronaut.jpg"
    photo.write_bytes((resources.files("janus_edge") / "assets" / "astronaut.jpg").read_bytes())

    click.secho("# a small Janus with random weights, in the transformers format", bold=True)
    write_synthetic_checkpoint(checkpoint, DIMENSIONS["demo"])
    click.echo(f"{checkpoint}\n")
    _run("export", checkpoint, bundle)
    _run("info", bundle)
    _run("parity", checkpoint, bundle)
    _run("generate", bundle, *_PROMPTS, "--images-per-prompt", "2", "--out", pictures, "--verbose")
    _run("chat", bundle, "--image", photo, "What is in this picture?", "--max-new-tokens", "24")
    _run("reconstruct", bundle, photo, "--out", pictures / "reconstruction.png", "--side-by-side")
    click.secho("# what there is now", bold=True)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != marker):
        click.echo(f"{path.stat().st_size:>12,}  {path}")


def _run(*args: object) -> None:
    """Run one command of this program, showing it as it would be typed."""
    from janus_edge.cli import cli

    words = [str(arg) for arg in args]
    click.secho(f"$ janus-edge {shlex.join(words)}", bold=True)
    cli.main(words, prog_name="janus-edge", standalone_mode=False)
    click.echo()
