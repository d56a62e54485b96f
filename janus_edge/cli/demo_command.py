"""`janus-edge demo`."""

from __future__ import annotations

import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import click

from janus_edge.errors import DependencyError, InputError

_PROMPTS = (
    "a photo of a red star and a blue circle",
    "three green triangles",
    "a yellow ring above a purple cross on a black background",
)
_QUESTIONS = ("What is in this picture?", "How many objects are there?")
_SCENE_SEED = 9  # chosen for four objects that differ
_BRIEF = (
    "--guidance", "1", "--guidance", "5", "--prompts", "10", "--questions", "15", "--scenes", "30",
)  # fmt: skip


@click.command(short_help="Run the whole path on the miniature that is shipped.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("janus-demo"), show_default=True,
              help="Where everything goes; emptied first if an earlier demo made it.")  # fmt: skip
def demo(folder: Path) -> None:
    """Run the whole path on the miniature Janus that is shipped with this package.

    Exports it, checks it against PyTorch, paints, asks about a picture that it painted and about
    one that was drawn, takes that one apart into codes and together again, and measures how often
    its pictures and answers are right.

    Example:  janus-edge demo
    """
    for package, extra in (("torch", "export"), ("scipy", "eval")):
        if find_spec(package) is None:
            raise DependencyError.missing(package, extra)
    marker = folder / ".janus-demo"
    if folder.exists():
        if not marker.exists():
            raise InputError(
                f"{folder}: exists and is not an earlier demo's; choose another --folder"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.touch()
    bundle, pictures, drawn = folder / "bundle", folder / "pictures", folder / "scene.png"

    _run("export", "miniature", bundle)
    _run("info", bundle)
    _run("parity", "miniature", bundle)
    _run("generate", bundle, *_PROMPTS, "--images-per-prompt", "4", "--out", pictures, "--verbose")
    painted = sorted(pictures.glob("a-yellow-ring*.png"))[0]
    for question in _QUESTIONS:
        _run("chat", bundle, "--image", painted, question)
    click.secho("# a scene that is drawn, not painted", bold=True)
    click.echo(f"{drawn}: {_draw(drawn)}\n")
    for question in _QUESTIONS:
        _run("chat", bundle, "--image", drawn, question)
    _run("reconstruct", bundle, drawn, "--out", pictures / "reconstruction.png", "--side-by-side")
    _run("evaluate", bundle, *_BRIEF, "--sheet", pictures / "evaluation.png")
    click.secho("# what there is now", bold=True)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != marker):
        click.echo(f"{path.stat().st_size:>12,}  {path}")


def _draw(path: Path) -> str:
    """Draw a scene into ``path``; returns what it shows."""
    import numpy as np
    from PIL import Image

    from janus_edge.shapes.drawing import draw
    from janus_edge.shapes.scene import random_scene
    from janus_edge.shapes.words import description

    scene = random_scene(np.random.default_rng(_SCENE_SEED))
    Image.fromarray(draw(scene)).save(path)
    return description(scene)


def _run(*args: object) -> None:
    """Run one command of this program, showing it as it would be typed."""
    from janus_edge.cli import cli

    words = [str(arg) for arg in args]
    click.secho(f"$ janus-edge {shlex.join(words)}", bold=True)
    cli.main(words, prog_name="janus-edge", standalone_mode=False)
    click.echo()
