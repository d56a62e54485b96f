"""Does rounding in wide passes cost right pictures? `parallel_decoding.py scores` tells.

A reader judges the same prompts and seeds, painted by the sequential loop and with the last of
``--width`` codes a pass; the difference of pairs is in points (percent) with its 95 % interval.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from quantization_scores import paired_difference

from janus_edge.evaluation import Options, evaluate
from janus_edge.runtime.generation import Parallel
from janus_edge.runtime.pipeline import Janus
from janus_edge.shapes.prompts import CATEGORIES


def scores(janus: Janus, given: argparse.Namespace) -> dict[str, Any]:
    """Right pictures of both ways at each guidance scale (temperature 1)."""
    width = given.width[-1]
    each = -(-given.pictures // len(CATEGORIES))
    rows = []
    for scale in given.guidance:
        both = [outcomes(janus, scale, each, way) for way in ("off", width)]
        rows.append(
            {
                "guidance": scale,
                "pictures": len(both[0]),
                "right_percent": {
                    way: round(100 * sum(right) / len(right), 2)
                    for way, right in zip(("off", str(width)), both, strict=True)
                },
                "minus_sequential": paired_difference(both[1], both[0]),
            }
        )
        print(rows[-1], file=sys.stderr)
    return {"precision": janus.bundle.manifest.recipe.name, "width": width, "settings": rows}


def outcomes(janus: Janus, scale: float, prompts: int, parallel: Parallel) -> list[int]:
    """1 for every picture that is right, else 0."""
    options = Options((scale,), prompts, parts=("painting",), parallel=parallel)
    painting = evaluate(janus, options).painting
    assert painting
    return [int(picture.fault is None) for picture in painting.pictures]
