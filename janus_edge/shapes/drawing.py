"""Drawing scenes: polygons at four times the size, reduced, so that edges are smooth."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from janus_edge.shapes.scene import COLOURS, DIRECTIONS, SIZE, TONES, Background, Scene

_FINE = 4
_RING = 0.5  # the hole's share of a ring's radius
_ARM = 0.36  # half the width of a cross' arm, in radii


def draw(scene: Scene) -> NDArray[np.uint8]:
    """The picture of ``scene`` [64, 64, 3], RGB."""
    picture = ground(scene.background)
    for item in scene.items:
        mask = coverage(item.shape, item.radius)
        reach = mask.shape[0] // 2
        rows = slice(item.y - reach, item.y + reach)
        columns = slice(item.x - reach, item.x + reach)
        part = picture[rows, columns]
        part += mask[..., None] * (np.array(COLOURS[item.colour], np.float32) - part)
    return np.rint(picture).astype(np.uint8)


@lru_cache(maxsize=256)
def coverage(shape: str, radius: float) -> NDArray[np.float32]:
    """How much of each pixel a shape covers [2R, 2R], R = ceil(radius); its centre is in the middle.

    Raises KeyError for an unknown shape.
    """
    reach = math.ceil(radius)
    side = 2 * reach * _FINE
    canvas = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(canvas)
    middle, r = side / 2 - 0.5, radius * _FINE
    for outline, fill in _OUTLINES[shape]:
        pen.polygon([(middle + x * r, middle + y * r) for x, y in outline], fill=fill)
    mask = np.asarray(canvas.reduce(_FINE)).astype(np.float32) / np.float32(255)
    mask.setflags(write=False)
    return mask


def ground(background: Background) -> NDArray[np.float32]:
    """The picture of a background alone [64, 64, 3], RGB from 0 to 255."""
    tone = np.array(TONES[background.tone], np.float32)
    if background.end is None or background.direction is None:
        return np.broadcast_to(tone, (SIZE, SIZE, 3)).copy()
    dx, dy = DIRECTIONS[background.direction]
    ramp = np.linspace(0, 1, SIZE, dtype=np.float32)
    along = (dx * ramp[None, :] + dy * ramp[:, None])[..., None]
    graded: NDArray[np.float32] = tone + along * (
        np.array(TONES[background.end], np.float32) - tone
    )
    return graded


def _circle(radius: float) -> list[tuple[float, float]]:
    angles = [2 * math.pi * i / 64 for i in range(64)]
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def _star() -> list[tuple[float, float]]:
    angles = [math.pi * i / 5 - math.pi / 2 for i in range(10)]
    return [
        ((1.08, 0.46)[i % 2] * math.cos(a), (1.08, 0.46)[i % 2] * math.sin(a) + 0.08)
        for i, a in enumerate(angles)
    ]


def _cross() -> list[tuple[float, float]]:
    corner = [(_ARM, 1.0), (_ARM, _ARM), (1.0, _ARM)]
    quarters = [[(x, y) for x, y in corner], [(x, -y) for x, y in reversed(corner)]]
    right = quarters[0] + quarters[1]
    return right + [(-x, -y) for x, y in right]


#: Shape -> polygons in units of the radius, drawn in order, with their fill.
_OUTLINES = {
    "circle": [(_circle(1.0), 255)],
    "square": [([(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)], 255)],
    "triangle": [([(0.0, -0.95), (1.0, 0.85), (-1.0, 0.85)], 255)],
    "star": [(_star(), 255)],
    "ring": [(_circle(1.0), 255), (_circle(_RING), 0)],
    "cross": [(_cross(), 255)],
}
