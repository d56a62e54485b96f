"""A second look at a trained model, with what its training did not use.

    python training/check.py BUNDLE [--prompts 12] [--seed 1]

BUNDLE is an export of a checkpoint. Prints one JSON object:

``held_out``     share of right pictures of prompts whose wording and content training never saw, by
                 category, by the evaluation's judge (``right``) and by the stricter one (``strict``:
                 fit and tone, `rewards.py`)
``own_answers``  for these pictures, how often the model itself says that they show their prompt,
                 of those the judge calls right (``right``) and of the others (``wrong``)
``claims``       share of right answers to claims about drawn scenes, yes and no in equal numbers
``diversity``    mean number of different arrangements (what is where, by thirds of the picture and
                 by tone) among 8 pictures of one prompt
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from category_prompts import Request, request
from lessons import thinned_scene
from PIL import Image
from rewards import strictly_right, tone_of

from janus_edge.runtime.pipeline import Janus
from janus_edge.shapes.claims import ask, claim_question
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.prompts import CATEGORIES, fault
from janus_edge.shapes.reader import read

_GUIDANCE, _PARALLEL, _AT_ONCE = 6.0, 8, 28
_SEEDS = 900_000_000_000  # above those of evaluations
_HELD_OUT, _CLAIMS = 91, 92  # the spaces of seeds
_ALIKE = 8  # pictures of one prompt whose arrangements are counted
_DIVERSE = ("a photo of a star", "a photo of a circle and a square", "a photo of three rings")


def check(janus: Janus, prompts: int, claims: int, seed: int) -> dict[str, Any]:
    """All four figures."""
    asked = [
        request(category, np.random.default_rng([_HELD_OUT, seed, c, i]), held_out=True)
        for c, category in enumerate(CATEGORIES)
        for i in range(prompts)
    ]
    first = _SEEDS + 1_000_000 * seed
    pictures = painted(janus, [a.prompt.text for a in asked], range(first, first + len(asked)))
    return {
        "bundle": janus.bundle.path.name,
        "digest": janus.bundle.digest,
        "held_out": _held_out(asked, pictures),
        "own_answers": _own_answers(janus, asked, pictures),
        "claims": _claims(janus, claims, seed),
        "diversity": _diversity(janus, first + 500_000),
    }


def painted(janus: Janus, texts: Sequence[str], seeds: Sequence[int]) -> list[np.ndarray]:
    """A picture uint8 [64, 64, 3] of each prompt with its seed."""
    found: list[np.ndarray] = []
    for start in range(0, len(texts), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        made = janus.generate(
            texts[part], seed=list(seeds[part]), guidance_scale=_GUIDANCE, parallel=_PARALLEL
        )
        found += [np.asarray(picture.image) for picture in made]
    return found


def _right(asked: Request, picture: np.ndarray) -> bool:
    return fault(asked.prompt, read(picture)) is None


def _held_out(asked: Sequence[Request], pictures: Sequence[np.ndarray]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, judge in (("right", _right), ("strict", strictly_right)):
        outcomes = [judge(a, p) for a, p in zip(asked, pictures, strict=True)]
        by_category = {
            category: fmean(
                o for a, o in zip(asked, outcomes, strict=True) if a.prompt.category == category
            )
            for category in CATEGORIES
        }
        found[name] = {"mean": fmean(by_category.values()), **by_category}
    return {"pictures": len(pictures), **found}


def _own_answers(
    janus: Janus, asked: Sequence[Request], pictures: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Claims ask for shapes and colours, so tones are left out of the question."""
    said: dict[bool, list[bool]] = {True: [], False: []}
    for one, picture in zip(asked, pictures, strict=True):
        text = one.prompt.text.partition(" on a ")[0]
        answer = janus.describe(Image.fromarray(picture), ask(text), max_new_tokens=4).text
        said[_right(one, picture)].append(answer.strip().lower() == "yes")
    return {
        name: {"yes": sum(answers), "of": len(answers)}
        for name, answers in (("right", said[True]), ("wrong", said[False]))
    }


def _claims(janus: Janus, count: int, seed: int) -> dict[str, Any]:
    right: dict[str, list[bool]] = {"yes": [], "no": []}
    for number in range(count):
        rng = np.random.default_rng([_CLAIMS, seed, number])
        scene = thinned_scene(rng)
        asked = claim_question(scene, rng)
        said = janus.describe(Image.fromarray(draw(scene)), asked.text, max_new_tokens=4).text
        right[asked.answer].append(said.strip().lower() == asked.answer)
    return {name: {"right": sum(outcomes), "of": len(outcomes)} for name, outcomes in right.items()}


def _diversity(janus: Janus, seed: int) -> float:
    counts = []
    for number, text in enumerate(_DIVERSE):
        seeds = range(seed + number * _ALIKE, seed + (number + 1) * _ALIKE)
        pictures = painted(janus, [text] * _ALIKE, seeds)
        counts.append(len({_arrangement(picture) for picture in pictures}))
    return fmean(counts)


def _arrangement(picture: np.ndarray) -> tuple[Any, ...]:
    items = read(picture).items
    seen = sorted((i.shape, i.colour, int(3 * i.x // 64), int(3 * i.y // 64)) for i in items)
    return tuple(seen), tone_of(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--prompts", type=int, default=12, help="of each category")
    parser.add_argument("--claims", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    with Janus.load(given.bundle, threads=given.threads) as opened:
        print(json.dumps(check(opened, given.prompts, given.claims, given.seed), indent=2))
