"""Codes of scenes drawn on the fly: each patch's own, from a table of what patches look like.

The table is that of `codes.py`: of the codes that the VQ encoder gave wherever a patch's pixels were
the same, the most frequent. A picture with a patch that the table lacks keeps the encoder's code
there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from codes import contents, most_frequent
from train_vq import Codec, to_pixels

from janus_edge.atomic_file import written_aside
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.scene import Background, random_scene

_SCENES, _BATCH = 12_000, 32
_SEED = 61  # the space of seeds of the scenes that the table is made of


class PatchCodes:
    """Turns pictures into the codes that the model learns to paint."""

    def __init__(self, keys: np.ndarray, codes: np.ndarray, codec: Codec) -> None:
        self._keys, self._codes, self._codec = keys, codes, codec

    @classmethod
    def load(cls, folder: Path, codec: Codec, scenes: int = _SCENES) -> PatchCodes:
        """Read the table in ``folder``; make it if it is not there, which takes two minutes."""
        path = folder / "patch-codes.npz"
        if not path.exists():
            keys, codes = _table(codec, scenes)
            with written_aside(path) as aside, open(aside, "wb") as file:
                np.savez(file, keys=keys, codes=codes)
        with np.load(path) as data:
            return cls(data["keys"], data["codes"], codec)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Codes int64 [n, 256] of pictures uint8 [n, 64, 64, 3]."""
        keys = contents(pictures)
        places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        codes, known = self._codes[places].astype(np.int64), self._keys[places] == keys
        lacking = np.flatnonzero(~known.all(1))
        if len(lacking):
            own = _encoded(self._codec, pictures[lacking])
            codes[lacking] = np.where(known[lacking], codes[lacking], own)
        return codes


def _table(codec: Codec, scenes: int) -> tuple[np.ndarray, np.ndarray]:
    keys, codes = [], []
    for start in range(0, scenes, _BATCH):
        pictures = np.stack([_picture(i) for i in range(start, start + _BATCH)])
        keys.append(contents(pictures))
        codes.append(_encoded(codec, pictures))
    every, own = np.concatenate(keys), np.concatenate(codes)
    kinds, first = np.unique(every, return_index=True)
    return kinds, most_frequent(every, own).ravel()[first].astype(np.uint16)


def _picture(index: int) -> np.ndarray:
    scene = random_scene(np.random.default_rng([_SEED, index]))
    if scene.background.end is not None:  # a gradient has patches of its own everywhere
        scene = type(scene)(scene.items, Background(scene.background.tone))
    return draw(scene)


@torch.inference_mode()
def _encoded(codec: Codec, pictures: np.ndarray) -> np.ndarray:
    found: np.ndarray = codec.codes(codec.latents(to_pixels(pictures))).flatten(1).numpy()
    return found
