"""The codes that stage 3 learns to paint: what the VQ encoder gives, without its noise.

The VQ encoder looks at the whole picture, so that a patch's code depends on its neighbours and, by
group norm and attention, a little on what is far away. To the language model that is noise, several
times more nats than everything that a prompt decides. Here equal patches get equal codes: of the
codes that the encoder gave wherever a patch's pixels were the same, the most frequent. The decoder,
which sees the neighbours itself, loses 1 dB of 36 by it, and objects stay as legible as they were.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from dataset import Scenes
from miniature import CONFIG
from train_vq import Codec, to_pixels

from janus_edge.atomic_file import written_aside

_PATCH, _GRID = CONFIG.vision.patch_size, CONFIG.vision.grid
_BATCH, _REPORTED = 16, 6400


def codes_of(folder: Path, scenes: Scenes, codec: Codec, count: int) -> np.ndarray:
    """Codes uint16 [count, 256] of the first pictures, made once and kept in codes.npy."""
    path = folder / "codes.npy"
    if path.exists() and len(np.load(path, mmap_mode="r")) >= count:
        return np.load(path)[:count]
    started, parts, keys = time.monotonic(), [], []
    with torch.inference_mode():
        for start in range(0, count, _BATCH):
            pictures = scenes.pictures[start : min(start + _BATCH, count)]
            codes = codec.codes(codec.latents(to_pixels(pictures))).flatten(1)
            parts.append(codes.numpy().astype(np.uint16))
            keys.append(contents(pictures))
            if start % _REPORTED == 0:
                print(f"codes of {start} pictures, {time.monotonic() - started:.0f} s", flush=True)
    with written_aside(path) as aside, open(aside, "wb") as file:
        np.save(file, most_frequent(np.concatenate(keys), np.concatenate(parts)))
    return np.load(path)


def contents(pictures: np.ndarray) -> np.ndarray:
    """A hash uint64 [n, 256] of each patch's pixels; ``pictures`` uint8 [n, 64, 64, 3]."""
    shape = (len(pictures), _GRID, _PATCH, _GRID, _PATCH, 3)
    patches = pictures.reshape(shape).transpose(0, 1, 3, 2, 4, 5).astype(np.uint64) + 1
    factors = np.random.default_rng(7).integers(0, 1 << 63, patches[0, 0, 0].size, np.uint64)
    flat = patches.reshape(len(pictures), _GRID * _GRID, -1)
    return (flat * (factors * 2 + 1)).sum(-1, dtype=np.uint64)


def most_frequent(keys: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """For each entry the code that is most frequent among the entries with its key; same shape."""
    kinds, which = np.unique(keys, return_inverse=True)
    size = int(codes.max()) + 1
    pairs, counts = np.unique(which.ravel() * size + codes.ravel(), return_counts=True)
    best = np.zeros(len(kinds), codes.dtype)
    order = np.argsort(counts, kind="stable")  # the last one written is the most frequent
    best[pairs[order] // size] = pairs[order] % size
    return best[which.reshape(codes.shape)]
