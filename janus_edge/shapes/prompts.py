"""Prompts in GenEval's categories, and whether a picture shows what its prompt asks for.

Categories after Ghosh et al. 2023, GenEval (arXiv 2310.11513), and, as 'dense', prompts that name
everything in the manner of DPG-Bench (Hu et al. 2024, arXiv 2403.05135). Stricter than GenEval in
one respect: a picture must show nothing but what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from janus_edge.shapes.reader import Reading, Seen
from janus_edge.shapes.scene import COLOURS, MOST_ITEMS, RELATIONS, SHAPES, TONES, related
from janus_edge.shapes.words import article, counted, groups_of, listed

CATEGORIES = (
    "single object", "two objects", "counting", "colours", "position", "colour attribution", "dense",
)  # fmt: skip
_CLEAR = 5  # pixels between the centres from which on a relation holds


@dataclass(frozen=True)
class Prompt:
    """``text`` asks for the (shape, colour or None) in ``wanted`` and nothing else.

    ``relation``, if any, is that of the first to the second.
    """

    category: str
    text: str
    wanted: tuple[tuple[str, str | None], ...]
    relation: str | None = None


def prompts(category: str, count: int, seed: int = 0) -> list[Prompt]:
    """``count`` prompts of a category; the first n of a longer list are those of a shorter one.

    Raises ValueError for an unknown category.
    """
    if category not in CATEGORIES:
        raise ValueError(f"no category {category!r}: there are {', '.join(CATEGORIES)}")
    number = CATEGORIES.index(category)
    return [_make(category, np.random.default_rng([41, seed, number, i])) for i in range(count)]


def fault(prompt: Prompt, reading: Reading) -> str | None:
    """Why a picture does not show what the prompt asks for; None if it does."""
    if reading.unclear:
        return "something unclear"
    if len(reading.items) != len(prompt.wanted):
        return f"{len(reading.items)} objects instead of {len(prompt.wanted)}"
    orders = [p for p in permutations(reading.items) if _looks(p, [s for s, _ in prompt.wanted])]
    if not orders:
        return "wrong shape"
    orders = [p for p in orders if all(c in (None, i.colour) for (_, c), i in _pairs(prompt, p))]
    if not orders:
        return "wrong colour"
    if prompt.relation and not any(_holds(prompt.relation, order) for order in orders):
        return "wrong position"
    return None


def _looks(items: Sequence[Seen], shapes: list[str]) -> bool:
    return [item.shape for item in items] == shapes


def _pairs(prompt: Prompt, items: Sequence[Seen]) -> list[tuple[tuple[str, str | None], Seen]]:
    return list(zip(prompt.wanted, items, strict=True))


def _holds(relation: str, items: Sequence[Seen]) -> bool:
    a, b = items[:2]
    return related(relation, a.x - b.x, a.y - b.y, _CLEAR)


def _make(category: str, rng: np.random.Generator) -> Prompt:
    shapes = [str(s) for s in rng.choice(SHAPES, 2, replace=False)]
    colours = [str(c) for c in rng.choice(list(COLOURS), 2, replace=False)]
    wanted: tuple[tuple[str, str | None], ...]
    relation = None
    if category == "single object":
        wanted = ((shapes[0], None),)
    elif category == "colours":
        wanted = ((shapes[0], colours[0]),)
    elif category == "counting":
        wanted = ((shapes[0], None),) * int(rng.integers(2, MOST_ITEMS + 1))
    elif category == "two objects":
        wanted = ((shapes[0], None), (shapes[1], None))
    elif category == "position":
        wanted = ((shapes[0], None), (shapes[1], None))
        relation = str(rng.choice(RELATIONS))
    elif category == "colour attribution":
        wanted = ((shapes[0], colours[0]), (shapes[1], colours[1]))
    else:
        count = int(rng.integers(3, MOST_ITEMS + 1))
        looks = zip(rng.choice(SHAPES, count), rng.choice(list(COLOURS), count), strict=True)
        wanted = tuple((str(shape), str(colour)) for shape, colour in looks)
    return Prompt(
        category, f"a photo of {_words(wanted, relation, category, rng)}", wanted, relation
    )


def _words(
    wanted: tuple[tuple[str, str | None], ...],
    relation: str | None,
    category: str,
    rng: np.random.Generator,
) -> str:
    if relation:
        (a, _), (b, _) = wanted
        return f"{article(a)} {a} {relation} {article(b)} {b}"
    body = listed([counted(n, shape, colour) for (shape, colour), n in groups_of(wanted).items()])
    if category != "dense":
        return body
    tone = str(rng.choice(list(TONES)))
    return f"{body} on a {tone} background"
