"""Drawn scenes on disk: pictures as one memory-mapped array, what they show as another.

    python training/dataset.py work/miniature [--count 60000]

Scene i depends on (seed, i) alone. Scenes from ``HELD_OUT`` on are for looking at, never trained on.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from janus_edge.atomic_file import written_aside
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.scene import (
    COLOURS,
    DIRECTIONS,
    MOST_ITEMS,
    SHAPES,
    TONES,
    Background,
    Item,
    Scene,
    random_scene,
)

SEED = 1
HELD_OUT = 1 << 40  # indices of scenes that no training set reaches
_COLOURS, _TONES, _DIRECTIONS = list(COLOURS), list(TONES), list(DIRECTIONS)
_ROWS = MOST_ITEMS + 1  # a row per object and one for the background
_CHUNK = 500


def scene(index: int) -> Scene:
    """The scene with this index."""
    return random_scene(np.random.default_rng([SEED, index]))


class Scenes:
    """The drawn training set in ``folder``: ``pictures`` uint8 [n, 64, 64, 3] and scene i."""

    def __init__(self, folder: Path) -> None:
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self._rows = np.load(folder / "scenes.npy")

    def __len__(self) -> int:
        return len(self._rows)

    def scene(self, index: int) -> Scene:
        """What picture ``index`` shows."""
        rows = self._rows[index]
        items = tuple(
            Item(SHAPES[shape], _COLOURS[colour], int(x), int(y), int(radius))
            for shape, colour, x, y, radius in rows[:-1]
            if radius
        )
        tone, end, direction = rows[-1][:3]
        if end < 0:
            return Scene(items, Background(_TONES[tone]))
        return Scene(items, Background(_TONES[tone], _TONES[end], _DIRECTIONS[direction]))


def encode(scene: Scene) -> np.ndarray:
    """A scene as small integers int8 [5, 5], for :meth:`Scenes.scene`."""
    rows = np.zeros((_ROWS, 5), np.int8)
    for row, item in zip(rows, scene.items, strict=False):
        row[:] = (
            SHAPES.index(item.shape), _COLOURS.index(item.colour), item.x, item.y, item.radius,
        )  # fmt: skip
    back = scene.background
    graded = back.end is not None and back.direction is not None
    rows[-1, 0] = _TONES.index(back.tone)
    rows[-1, 1] = _TONES.index(back.end) if graded else -1
    rows[-1, 2] = _DIRECTIONS.index(back.direction) if graded else -1
    return rows


def write(folder: Path, count: int) -> None:
    """Draw scenes 0 to ``count`` into ``folder``; what is there already is kept."""
    if (folder / "scenes.npy").exists() and len(np.load(folder / "scenes.npy")) >= count:
        return
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, count, _CHUNK)
    with ProcessPoolExecutor() as pool:
        parts = list(pool.map(_part, starts, [min(s + _CHUNK, count) for s in starts]))
    for name, index in (("pictures.npy", 0), ("scenes.npy", 1)):
        with written_aside(folder / name) as aside, open(aside, "wb") as file:
            np.save(file, np.concatenate([part[index] for part in parts]))


def _part(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    scenes = [scene(i) for i in range(start, stop)]
    return np.stack([draw(s) for s in scenes]), np.stack([encode(s) for s in scenes])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60_000)
    given = parser.parse_args()
    write(given.folder, given.count)
