"""Codes of scenes drawn on the fly: each patch's own, from a table of what patches look like.

The table must be that of stage 3 (`codes.py`, made of the first 36,000 scenes of the training set): of
the codes that the VQ encoder gave wherever a patch's pixels were the same, the most frequent. With
a table of 12,000 other scenes the shipped model's cross entropy was 0.097 nats a code instead of 0.083
(16 pictures): some patches got another code. A picture with a patch that the table lacks keeps the
encoder's code there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from codes import contents, most_frequent
from dataset import scene
from train_vq import Codec, to_pixels

from janus_edge.atomic_file import written_aside
from janus_edge.shapes.drawing import draw

#: must equal the default of train_model.py's --pictures
_SCENES = 36_000
_BATCH = 32


class PatchCodes:
    """Turns pictures into the codes that the model learns to paint."""

    def __init__(self, keys: np.ndarray, codes: np.ndarray, codec: Codec) -> None:
        self._keys, self._codes, self._codec = keys, codes, codec

    @classmethod
    def load(cls, folder: Path, codec: Codec, scenes: int = _SCENES) -> PatchCodes:
        """Read the table in ``folder``; make it if it is not there, which takes seven minutes."""
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
    """Contents of patches on plain backgrounds, rising, and the code of each."""
    keys, codes, plain = [], [], []
    for start in range(0, scenes, _BATCH):
        shown = [scene(i) for i in range(start, min(start + _BATCH, scenes))]
        pictures = np.stack([draw(s) for s in shown])
        keys.append(contents(pictures))
        codes.append(_encoded(codec, pictures))
        plain += [s.background.end is None for s in shown]
    every, own = np.concatenate(keys), np.concatenate(codes)
    best = most_frequent(every, own)
    kept = np.array(plain)  # a gradient has patches of its own nearly everywhere
    kinds, first = np.unique(every[kept], return_index=True)
    return kinds, best[kept].ravel()[first].astype(np.uint16)


@torch.inference_mode()
def _encoded(codec: Codec, pictures: np.ndarray) -> np.ndarray:
    found: np.ndarray = codec.codes(codec.latents(to_pixels(pictures))).flatten(1).numpy()
    return found
