"""What a painted picture is worth in stage 5: the evaluation's judge, a little stricter.

A picture that shows its prompt is worth 1; in a wrong tone, if the prompt names one, 0.5: the judge
of the evaluation does not look at tones, and what is not rewarded is lost. Any other is worth up to
0.3, by how many of the wanted objects it shows, so that two failures of one prompt can differ.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from category_prompts import Request

from janus_edge.shapes.prompts import Prompt, fault
from janus_edge.shapes.reader import Reading, read
from janus_edge.shapes.scene import TONES

_WRONG_TONE, _PARTIAL = 0.5, 0.3
#: Least fit of the second, stricter judge; the evaluation's is 0.93.
STRICT_FIT = 0.965
_TONES = np.array(list(TONES.values()), np.float32)


def reward(asked: Request, picture: np.ndarray) -> float:
    """The worth of ``picture`` uint8 [64, 64, 3], 0 to 1."""
    reading = read(picture)
    if fault(asked.prompt, reading) is None:
        return 1.0 if asked.tone in (None, tone_of(picture)) else _WRONG_TONE
    wanted = len(asked.prompt.wanted)
    most = max(wanted, len(reading.items) + reading.unclear)
    return _PARTIAL * _shown(asked.prompt, reading) / most


def strictly_right(asked: Request, picture: np.ndarray) -> bool:
    """The second judge: the same, with the right tone and every object at least STRICT_FIT."""
    reading = read(picture)
    return (
        fault(asked.prompt, reading) is None
        and all(seen.fit >= STRICT_FIT for seen in reading.items)
        and asked.tone in (None, tone_of(picture))
    )


def tone_of(picture: np.ndarray) -> str:
    """The tone that the median of the picture's border is nearest to."""
    border = np.concatenate([picture[:2], picture[-2:]], 1).reshape(-1, 3)
    away = np.linalg.norm(np.median(border, 0) - _TONES, axis=1)
    return list(TONES)[int(away.argmin())]


def _shown(prompt: Prompt, reading: Reading) -> int:
    """How many of the wanted objects are there, each object counted once."""
    left = Counter((seen.shape, seen.colour) for seen in reading.items)
    found = 0
    for shape, colour in sorted(prompt.wanted, key=lambda look: look[1] is None):
        match = (shape, colour) if colour else next((k for k in left if k[0] == shape), None)
        if match and left[match]:
            left[match] -= 1
            found += 1
            left += Counter()  # drops what is used up
    return found
