"""What `janus-edge calibrate` runs: files of the user, or a shipped set."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
from PIL.Image import fromarray

from janus_edge.calib.calibrate import Item
from janus_edge.errors import InputError
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.prompts import CATEGORIES
from janus_edge.shapes.prompts import prompts as prompts_of
from janus_edge.shapes.questions import KINDS, question
from janus_edge.shapes.scene import random_scene

#: Asked about every picture that comes without questions of its own.
_QUESTIONS = ("Describe this image.", "What is the main subject, and what is around it?")
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
#: The space of seeds in which neither training nor evaluation draws scenes.
_SCENES = 71
#: A seed of prompts above those that an evaluation takes.
_PROMPTS = 1 << 32


def calibration_items(
    miniature: bool, prompts: str | None, images: str | None, limit: int
) -> list[Item]:
    """Prompts and pictures, at most ``limit`` of each; ``miniature`` says that its world may be taken.

    Raises InputError for files and folders that cannot be read or hold nothing.
    """
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
    each = -(-limit // len(CATEGORIES))
    rows = zip(*(prompts_of(c, each, _PROMPTS) for c in CATEGORIES), strict=True)
    items = [Item(p.text, None, ()) for row in rows for p in row][:limit]
    for index in range(limit):
        rng = np.random.default_rng([_SCENES, index])
        scene = random_scene(rng)
        asked = [question(scene, kind, rng) for kind in rng.permutation(KINDS).tolist()]
        texts = tuple(q.text for q in asked if q)[:2]
        items.append(Item(None, fromarray(draw(scene)), texts))
    return items
