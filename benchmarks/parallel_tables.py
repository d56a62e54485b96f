"""Do counts of neighbouring codes guess better? `parallel_decoding.py tables` tells.

Pictures are painted code by code, of other prompts and seeds than those that are measured, or scenes
are drawn and encoded, and it is counted how often each code followed the one above and the one before
it. A table then guesses a
code from its two neighbours, where it has seen them; else as ``continued`` does. ``likely`` takes the
most frequent code, ``drawn`` the largest log count with the position's own noise added, which is a
draw from the counted distribution that is coupled to the model's own choice.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parallel_runs import parallel, requests, sequential, settings, told
from PIL import Image

from janus_edge.noise import gumbel
from janus_edge.runtime.guesses import GUESSES, Frontier, Guess, continued
from janus_edge.runtime.pipeline import Janus
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.scene import random_scene

#: Prompts and first seed of the pictures that are counted.
_PROMPTS, _SEED = 77, 100_000


class Neighbours:
    """Codes and their log counts by (code above, code before); in the first row by the one before.

    Counts of fewer than ``least`` pictures' codes are taken for chance.
    """

    def __init__(self, pictures: NDArray[np.int64], columns: int, least: int = 2) -> None:
        self._columns = columns
        counts: dict[tuple[int, int], dict[int, int]] = {}
        for codes in pictures.tolist():
            for place in range(1, len(codes)):
                above = codes[place - columns] if place >= columns else -1
                near = counts.setdefault((above, codes[place - 1]), {})
                near[codes[place]] = near.get(codes[place], 0) + 1
        self._seen: Mapping[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.float32]]] = {
            pair: (np.array([*near]), np.log(np.array([*near.values()], np.float32)))
            for pair, near in counts.items()
            if sum(near.values()) >= least
        }
        #: Bytes of a file with a context's two codes, and each code that followed with its count.
        self.nbytes = sum(4 + 4 * len(codes) for codes, _ in self._seen.values())

    def __len__(self) -> int:
        return len(self._seen)

    def _near(self, at: Frontier) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        above = int(at.codes[-self._columns]) if len(at.codes) >= self._columns else -1
        return self._seen.get((above, int(at.codes[-1])))

    def likely(self, at: Frontier) -> int:
        """The most frequent code."""
        near = self._near(at)
        return continued(at) if near is None else int(near[0][np.argmax(near[1])])

    def drawn(self, at: Frontier) -> int:
        """A draw from the counts with the position's noise."""
        near = self._near(at)
        return (
            continued(at) if near is None else int(near[0][np.argmax(near[1] + at.noise[near[0]])])
        )


def right(
    guess: Guess, pictures: np.ndarray, seeds: list[int], scores: NDArray[np.float32]
) -> float:
    """The share of codes that a guess finds when all codes before them are known.

    ``scores`` [K] stand for the last distribution: guesses that read it are not measured here.
    """
    columns, found = math.isqrt(pictures.shape[1]), 0
    for codes, seed in zip(pictures, seeds, strict=True):
        for place in range(1, len(codes)):
            noise = gumbel(seed, 0, place, len(scores))
            at = Frontier(codes[:place], noise, scores, columns)
            found += int(guess(at) == int(codes[place]))
    return found / float(len(pictures) * (pictures.shape[1] - 1))


def tables(janus: Janus, given: argparse.Namespace) -> dict[str, Any]:
    """Guesses of the tables against the others, per setting and width."""
    config, rows = janus.bundle.manifest.config, []
    columns, total = math.isqrt(config.image_tokens), config.image_tokens
    scenes = Neighbours(encoded(janus, given.encoded), columns)
    print({"encoded": given.encoded, "contexts": len(scenes)}, file=sys.stderr)
    for scale, temperature in settings(given):
        counted = np.concatenate(
            [
                sequential(janus, request)
                for request in requests(janus, given.counted, scale, temperature, _PROMPTS, _SEED)
            ]
        )
        table = Neighbours(counted, columns)
        sizes = {
            name: {"counted": count, "contexts": len(of), "table_bytes": of.nbytes}
            for name, count, of in (
                ("painted", len(counted), table),
                ("drawn", given.encoded, scenes),
            )
        }
        guesses: dict[str, Guess] = {
            **{name: GUESSES[name] for name in given.guesses},
            "painted pictures, likely": table.likely,
            "painted pictures, drawn with noise": table.drawn,
            "encoded scenes, likely": scenes.likely,
        }
        asked = [*requests(janus, given.pictures, scale, temperature)]
        final = np.concatenate([sequential(janus, request) for request in asked])
        seeds = [seed for request in asked for seed in request.seeds]
        blank = np.zeros(config.vq.codebook_size, np.float32)
        for name, guess in guesses.items():
            share = None if name == "resampled" else right(guess, final, seeds, blank)
            for width in given.width:
                each = np.concatenate([parallel(janus, r, width, guess)[1] for r in asked])
                row = told(
                    each, total, guess=name, width=width, guidance=scale, temperature=temperature,
                    right_after_true_codes=share,
                )  # fmt: skip
                rows.append(row)
                print(name, width, share, round(row["fewer"], 3), file=sys.stderr)
    return {"sequential_passes": total - 1, "tables": sizes, "settings": rows}


def encoded(janus: Janus, count: int) -> NDArray[np.int64]:
    """Codes [N, T] of scenes of the miniature's world."""
    images = (
        Image.fromarray(draw(random_scene(np.random.default_rng([_SEED, index]))))
        for index in range(count)
    )
    return np.stack([janus.encode(image) for image in images])
