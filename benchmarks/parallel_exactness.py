"""Are the pictures the sequential loop's? `parallel_decoding.py exact` tells, for any precision.

Both loops paint the same prompts and seeds in the same batches. Where a picture differs, its first
code that differs tells why: a kernel that sums many rows in another order than one row may turn the
choice between two codes whose scores (guided logits / temperature + noise) differ by less than its
rounding. So that gap is told beside the gap at all other places, which it must be far below, and
whether the code that was taken is the second best.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parallel_runs import parallel, requests, sequential, settings

from janus_edge.noise import gumbel
from janus_edge.runtime.guesses import GUESSES
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest
from janus_edge.runtime.pipeline import Janus


def exact(janus: Janus, given: argparse.Namespace) -> dict[str, Any]:
    """Per setting the pictures, those that differ, and the gaps."""
    rows, width = [], given.width[-1]
    for scale, temperature in settings(given):
        differing, count, usual = [], 0, np.empty(0)
        for request in requests(janus, given.pictures, scale, temperature):
            wanted = sequential(janus, request)
            found, _ = parallel(janus, request, width, GUESSES[given.guess])
            if not count:  # one picture stands for what gaps usually are
                usual = gaps(janus, request, 0, wanted[0], wanted.shape[1])[0]
            count += len(wanted)
            for picture in np.flatnonzero((found != wanted).any(1)).tolist():
                place = int(np.argmax(found[picture] != wanted[picture]))
                gap, second = gaps(janus, request, picture, wanted[picture], place + 1)
                differing.append(
                    {
                        "position": place,
                        "gap": float(gap[-1]),
                        "second_best": bool(second[-1] == found[picture, place]),
                        "codes_that_differ": int((found[picture] != wanted[picture]).sum()),
                    }
                )
        rows.append(
            {
                "guidance": scale,
                "temperature": temperature,
                "pictures": count,
                "share_that_differs": len(differing) / count,
                "largest_gap": max((d["gap"] for d in differing), default=None),
                "usual_gap": {
                    "median": float(np.median(usual)),
                    "least": float(usual.min()),
                    "places": len(usual),
                },
                "differ": differing,
            }
        )
        print(scale, temperature, count, len(differing), file=sys.stderr)
    return {
        "precision": janus.bundle.manifest.recipe.name,
        "width": width,
        "guess": given.guess,
        "settings": rows,
    }


def gaps(
    janus: Janus, request: ImageRequest, picture: int, codes: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of the first ``count`` places of a picture, the difference of the two best scores and the
    second best code, when the codes before are ``codes``."""
    config = janus.bundle.manifest.config
    seed, index = request.seeds[picture], request.indices[picture]
    alone = ImageRequest(
        [request.prompts[picture]], [0], [seed], [index], request.guidance_scale, request.temperature,
    )  # fmt: skip
    decoder = ImageDecoder(config, janus.backend, alone)
    found, second = [], []
    for place in range(count):
        if place:
            decoder.codes[0] = codes[place - 1]
            decoder.step()
        else:
            decoder.first()
        cond, uncond = decoder.logits.astype(np.float32)
        scores = uncond + np.float32(request.guidance_scale) * (cond - uncond)
        if request.temperature:
            scores = scores / np.float32(request.temperature)
            scores += gumbel(seed, index, place, len(scores))
        low, high = np.argpartition(scores, -2)[-2:]
        found.append(abs(float(scores[high]) - float(scores[low])))
        second.append(int(low if scores[low] < scores[high] else high))
    return np.array(found), np.array(second)
