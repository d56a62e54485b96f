"""`janus-edge calibrate`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import print_json, progress_bar
from janus_edge.errors import DependencyError, InputError

if TYPE_CHECKING:
    from janus_edge.calib.calibrate import Item

#: Asked about every picture that comes without questions of its own.
_QUESTIONS = ("Describe this image.", "What is the main subject, and what is around it?")
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
#: The space of seeds in which neither training nor evaluation draws scenes.
_SCENES = 71
#: A seed of prompts above those that an evaluation takes.
_PROMPTS = 1 << 32


@click.command(short_help="Record what layers see, for INT8 and INT4.")
@click.argument("bundle", type=click.Path())
@click.argument("target", type=click.Path())
@click.option("--prompts", type=click.Path(), help="A text file, a prompt a line; lines with # are comments.")  # fmt: skip
@click.option("--images", type=click.Path(), help="A folder of images to ask about.")
@click.option("--limit", type=click.IntRange(1), default=48, show_default=True,
              help="At most so many prompts and so many images.")  # fmt: skip
@click.option(
    "--fraction", default=0.25, show_default=True, help="Share of decoding steps recorded."
)
@click.option("--guidance-scale", default=5.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--gram", is_flag=True, help="Keep what GPTQ needs: 4 C^2 bytes for an input of C channels.")  # fmt: skip
@click.option("--threads", default=0, help="Processor threads; 0 takes one per core.")
@click.option("--force", is_flag=True, help="Start again, whatever TARGET holds.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def calibrate(
    bundle: str, target: str, prompts: str | None, images: str | None, limit: int, fraction: float,
    guidance_scale: float, seed: int, gram: bool, threads: int, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Paint prompts and ask about images with BUNDLE; write what its layers read to TARGET (.npz).

    Without --prompts: a shipped set after GenEval and DPG-Bench, and for the miniature prompts of
    its own world. Without --images: a shipped photograph and what was just painted, and for the
    miniature drawn scenes. An interrupted run goes on when it is started again.

    Example:  janus-edge calibrate janus-1b calibration.npz --images photos
    """
    try:
        from janus_edge.calib.calibrate import Options
        from janus_edge.calib.calibrate import calibrate as record
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "onnx", "calib") from missing
    from janus_edge.bundle import Bundle

    path = Path(target)
    if path.suffix != ".npz" or path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: give the calibration a .npz file in an existing folder")
    options = Options(fraction, guidance_scale, seed, gram=gram)
    opened = Bundle.open(bundle)
    items = _items(opened.manifest.source.name == "miniature", prompts, images, limit)
    with progress_bar() as bars:
        task = bars.add_task("calibrating", total=len(items))
        found = record(
            opened, items, path, options, force=force, threads=threads,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        print_json({"file": str(path), **found.counts})
        return
    counts, inputs = found.counts, sum(map(len, found.graphs.values()))
    click.echo(
        f"{path}: {inputs} inputs over {counts['prompts']} prompts, {counts['pictures']} pictures and "
        f"{counts['questions']} questions; {counts['recorded_steps']} of {counts['steps']} steps recorded"
    )


def _items(miniature: bool, prompts: str | None, images: str | None, limit: int) -> list[Item]:
    from janus_edge.calib.calibrate import Item

    if miniature and prompts is None and images is None:
        return _shapes(limit)
    asked = () if images else _QUESTIONS[:1]  # what was painted stands in for images
    items = [Item(text, None, asked) for text in _prompts(prompts)[:limit]]
    return items + [Item(None, path, _QUESTIONS) for path in _images(images)[:limit]]


def _prompts(path: str | None) -> list[str]:
    source = (
        Path(path) if path else resources.files("janus_edge") / "assets/calibration_prompts.txt"
    )
    try:
        lines = [line.strip() for line in source.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as unreadable:
        raise InputError(f"{path}: not a readable text file ({unreadable})") from unreadable
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise InputError(f"{path}: has no prompt; write one a line")
    # a limit then takes some of every category
    return found if path else [p for i in range(12) for p in found[i::12]]


def _images(folder: str | None) -> list[Path]:
    if folder is None:
        return [Path(str(resources.files("janus_edge") / "assets/astronaut.jpg"))]
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder of images")
    found = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in _PICTURES)
    if not found:
        raise InputError(f"{folder}: has no image ({', '.join(sorted(_PICTURES))})")
    return found


def _shapes(limit: int) -> list[Item]:
    """Prompts of every category and as many drawn scenes, each with questions of several kinds."""
    import numpy as np
    from PIL.Image import fromarray

    from janus_edge.calib.calibrate import Item
    from janus_edge.shapes.drawing import draw
    from janus_edge.shapes.prompts import CATEGORIES, prompts
    from janus_edge.shapes.questions import KINDS, question
    from janus_edge.shapes.scene import random_scene

    each = -(-limit // len(CATEGORIES))
    rows = zip(*(prompts(c, each, _PROMPTS) for c in CATEGORIES), strict=True)
    items = [Item(p.text, None, ()) for row in rows for p in row][:limit]
    for index in range(limit):
        rng = np.random.default_rng([_SCENES, index])
        scene = random_scene(rng)
        asked = [question(scene, kind, rng) for kind in rng.permutation(KINDS).tolist()]
        texts = tuple(q.text for q in asked if q)[:2]
        items.append(Item(None, fromarray(draw(scene)), texts))
    return items
