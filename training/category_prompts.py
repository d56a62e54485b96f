"""What stages 4 and 5 ask for: prompts in the categories of the evaluation, weighted by need.

Captions of random scenes cover the evaluation's prompts thinly: relations and dense prompts are
1.6 % of them, attribution 4.5 %. Here every prompt is of a category, and a scene is drawn for it.

Some wordings and some contents are held out: stage 5 never asks for them (stage 4 has them only in
what it keeps of the first stages' captions), and what was learnt must show on them (`check.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from janus_edge.shapes.claims import Claim, Wanted
from janus_edge.shapes.prompts import CATEGORIES, Prompt
from janus_edge.shapes.scene import (
    COLOURS,
    MOST_ITEMS,
    RELATIONS,
    SHAPES,
    TONES,
    Background,
    Item,
    Scene,
    place,
    related,
)

_FRAMES = ("a photo of {}",) * 5 + ("{}",) * 3 + ("a picture of {}",) * 2 + ("draw {}",)
_HELD_FRAMES = ("an image of {}", "a drawing of {}")
#: Relation -> wordings that are trained, and those that are held out.
_RELATION_WORDS = {
    "left of": (("left of", "left of", "to the left of"), ("on the left of",)),
    "right of": (("right of", "right of", "to the right of"), ("on the right of",)),
    "above": (("above",), ("over",)),
    "below": (("below",), ("under",)),
}
_HELD_SHARE = 8  # one of eight contents is held out
#: Categories with too few contents to hold any out: six single objects, say.
_SMALL = ("single object", "colours", "two objects", "counting")


@dataclass(frozen=True)
class Request:
    """A prompt of a category, and the background's tone if the prompt names it."""

    prompt: Prompt
    tone: str | None = None


def request(category: str, rng: np.random.Generator, *, held_out: bool = False) -> Request:
    """A request of a category; a held-out one has a wording, and a content, of those held out."""
    while True:
        claim = _claim(category, rng)
        if category in _SMALL or content_held_out(claim) == held_out:
            break
    text = claim.text
    if claim.relation:
        words = _RELATION_WORDS[claim.relation][held_out]
        text = text.replace(f" {claim.relation} ", f" {rng.choice(words)} ")
    tone = str(rng.choice(list(TONES))) if category == "dense" else None
    if tone:
        text += f" on a {tone} background"
    frames = _HELD_FRAMES if held_out else _FRAMES
    text = frames[int(rng.integers(len(frames)))].format(text)
    return Request(Prompt(category, text, claim.wanted, claim.relation), tone)


def requests(
    weights: Sequence[float], count: int, rng: np.random.Generator, *, held_out: bool = False
) -> list[Request]:
    """Requests of categories drawn by ``weights``, one for each of CATEGORIES."""
    share = np.array(weights, float) / sum(weights)
    chosen = rng.choice(len(CATEGORIES), count, p=share)
    return [request(CATEGORIES[int(c)], rng, held_out=held_out) for c in chosen]


def content_held_out(claim: Claim) -> bool:
    """Whether this is never asked for in training, in whatever order its objects are named."""
    named = claim.wanted if claim.relation else tuple(sorted(claim.wanted, key=str))
    return crc32(repr((named, claim.relation)).encode()) % _HELD_SHARE == 0


def scene_for(asked: Request, rng: np.random.Generator) -> Scene:
    """A scene that shows a request, on a plain background; what is left open is drawn."""
    common = str(rng.choice(list(COLOURS))) if rng.random() < 0.5 else None
    many = asked.prompt.category == "counting"
    looks = [
        (shape, colour or (common if many and common else str(rng.choice(list(COLOURS)))))
        for shape, colour in asked.prompt.wanted
    ]
    relation = asked.prompt.relation

    def holds(items: tuple[Item, ...]) -> bool:
        a, b = items[:2]
        return related(str(relation), a.x - b.x, a.y - b.y)

    items = place(looks, rng, holds) if relation else place(looks, rng)
    return Scene(items, Background(asked.tone or str(rng.choice(list(TONES)))))


def _claim(category: str, rng: np.random.Generator) -> Claim:
    """What a prompt of this category asks for, as the evaluation draws it."""
    shapes = [str(s) for s in rng.choice(SHAPES, 2, replace=False)]
    colours = [str(c) for c in rng.choice(list(COLOURS), 2, replace=False)]
    wanted: dict[str, Wanted] = {
        "single object": ((shapes[0], None),),
        "colours": ((shapes[0], colours[0]),),
        "counting": ((shapes[0], None),) * int(rng.integers(2, MOST_ITEMS + 1)),
        "two objects": ((shapes[0], None), (shapes[1], None)),
        "position": ((shapes[0], None), (shapes[1], None)),
        "colour attribution": ((shapes[0], colours[0]), (shapes[1], colours[1])),
    }
    if category in wanted:
        relation = str(rng.choice(RELATIONS)) if category == "position" else None
        return Claim(wanted[category], relation)
    count = int(rng.integers(3, MOST_ITEMS + 1))
    return Claim(
        tuple(
            (str(s), str(c))
            for s, c in zip(
                rng.choice(SHAPES, count), rng.choice(list(COLOURS), count), strict=True
            )
        )
    )
