"""Scenes: one to four shapes that do not touch, on a plain or graded background.

Coordinates are pixels of a 64 x 64 picture, x to the right and y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Side of a picture in pixels.
SIZE = 64
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
#: Colours of objects, RGB.
COLOURS = {
    "red": (220, 30, 40),
    "orange": (255, 140, 0),
    "yellow": (255, 225, 30),
    "green": (30, 160, 60),
    "cyan": (40, 200, 220),
    "blue": (40, 80, 230),
    "purple": (140, 50, 190),
    "pink": (255, 120, 190),
}
#: Tones of backgrounds, RGB.
TONES = {
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
    "black": (20, 20, 20),
    "beige": (226, 208, 174),
}
#: Name of a size -> half of the object's extent in pixels.
RADII = {"small": 8, "medium": 10, "large": 12}
#: Centres lie on multiples of this many pixels.
GRID = 4
#: Where a gradient's second tone is.
DIRECTIONS = {"right": (1.0, 0.0), "bottom": (0.0, 1.0), "bottom right": (0.5, 0.5)}
RELATIONS = ("left of", "right of", "above", "below")
#: A relation holds from this many pixels between the centres on.
CLEAR = 10
MOST_ITEMS = 4
_MARGIN = 2  # pixels between objects, and to the edge


@dataclass(frozen=True)
class Item:
    """One object: ``x``, ``y`` is the centre, ``radius`` half of its width and height."""

    shape: str
    colour: str
    x: int
    y: int
    radius: int

    @property
    def size(self) -> str:
        """The name of its size."""
        return next(name for name, radius in RADII.items() if radius == self.radius)


@dataclass(frozen=True)
class Background:
    """A tone, or a linear gradient from ``tone`` to ``end`` towards ``direction``."""

    tone: str
    end: str | None = None
    direction: str | None = None


@dataclass(frozen=True)
class Scene:
    """What a picture shows; ``items`` in no particular order."""

    items: tuple[Item, ...]
    background: Background


def related(relation: str, dx: float, dy: float, clear: float = CLEAR) -> bool:
    """Whether something is ``relation`` of another thing that it is (dx, dy) pixels away from."""
    along = {"left of": -dx, "right of": dx, "above": -dy, "below": dy}[relation]
    return along >= clear


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene of one of four kinds: one object, two, several of one shape, several of any."""
    kind = rng.choice(4, p=(0.16, 0.34, 0.3, 0.2))
    if kind == 0:
        wanted = [_look(rng)]
    elif kind == 1:
        wanted = [_look(rng), _look(rng)]
    elif kind == 2:
        shape, count = str(rng.choice(SHAPES)), int(rng.integers(2, MOST_ITEMS + 1))
        colour = str(rng.choice(list(COLOURS))) if rng.random() < 0.5 else None
        wanted = [(shape, colour or _look(rng)[1]) for _ in range(count)]
    else:
        wanted = [_look(rng) for _ in range(int(rng.integers(3, MOST_ITEMS + 1)))]
    return Scene(place(wanted, rng), random_background(rng))


def random_background(rng: np.random.Generator) -> Background:
    """Plain in seven cases of eight, else a gradient between two tones."""
    tone, end = (str(t) for t in rng.choice(list(TONES), 2, replace=False))
    if rng.random() < 7 / 8:
        return Background(tone)
    return Background(tone, end, str(rng.choice(list(DIRECTIONS))))


def place(
    looks: list[tuple[str, str]],
    rng: np.random.Generator,
    accept: Callable[[tuple[Item, ...]], bool] = lambda items: True,
) -> tuple[Item, ...]:
    """Objects of the given (shape, colour) at free places, drawn again until ``accept`` likes them.

    Raises ValueError if there are more than can be placed.
    """
    if not 1 <= len(looks) <= MOST_ITEMS:
        raise ValueError(f"{len(looks)} objects; a scene has 1 to {MOST_ITEMS}")
    while True:
        items: list[Item] = []
        for shape, colour in looks:
            radius = int(rng.choice(list(RADII.values())))
            low, high = radius + _MARGIN, SIZE - radius - _MARGIN
            first, last = math.ceil(low / GRID), high // GRID
            x, y = (GRID * int(v) for v in rng.integers(first, last + 1, 2))
            item = Item(shape, colour, x, y, radius)
            if not all(_apart(item, other) for other in items):
                break
            items.append(item)
        else:
            if accept(tuple(items)):
                return tuple(items)


def _apart(a: Item, b: Item) -> bool:
    return max(abs(a.x - b.x), abs(a.y - b.y)) >= a.radius + b.radius + _MARGIN


def _look(rng: np.random.Generator) -> tuple[str, str]:
    return str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS)))
