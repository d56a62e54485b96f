"""Turning drawn scenes into VQ codes and back: what the codes can hold of this world."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus_edge.compare import decibels
from janus_edge.evaluation.options import Options
from janus_edge.evaluation.report import Reconstruction, Share
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.reader import Reading, Seen, read
from janus_edge.shapes.scene import Item, Scene, random_scene

if TYPE_CHECKING:
    from janus_edge.runtime.pipeline import Janus

_SCENES = 59  # the space of seeds in which training draws no scenes
_CENTRE, _RADIUS = 3.0, 2.0  # pixels by which an object that is read right may be off


def scenes(options: Options) -> list[Scene]:
    """The scenes that are turned into codes and back."""
    return [
        random_scene(np.random.default_rng([_SCENES, options.seed, index]))
        for index in range(options.scenes)
    ]


def reconstruct(
    janus: Janus,
    options: Options,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Reconstruction:
    """Encode and decode every scene; ``progress(done, total)`` in scenes."""
    figures, legible = [], []
    progress(0, options.scenes)
    for done, scene in enumerate(scenes(options), 1):
        drawn = draw(scene)
        rebuilt = np.asarray(janus.decode(janus.encode(Image.fromarray(drawn))))
        figures.append(psnr_db(rebuilt, drawn))
        legible.append(shows(scene, read(rebuilt)))
        progress(done, options.scenes)
    return Reconstruction(fmean(figures), Share.of(legible), tuple(figures))


def psnr_db(picture: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """10 log10(255^2 / MSE) of two uint8 pictures of one shape; 200 for equal ones."""
    error = picture.astype(np.float64) - reference.astype(np.float64)
    return decibels(255.0**2, float(np.mean(error**2)))


def shows(scene: Scene, reading: Reading) -> bool:
    """Whether exactly the scene's objects were read: shape, colour, place and size of each."""
    if reading.unclear or len(reading.items) != len(scene.items):
        return False
    # objects do not touch: no two of them can be within 3 pixels of one
    return all(any(_same(item, seen) for seen in reading.items) for item in scene.items)


def _same(item: Item, seen: Seen) -> bool:
    off = np.hypot(seen.x - item.x, seen.y - item.y)
    looks = (item.shape, item.colour) == (seen.shape, seen.colour)
    return bool(looks and off <= _CENTRE and abs(seen.radius - item.radius) <= _RADIUS)
