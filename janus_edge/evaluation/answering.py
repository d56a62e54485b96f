"""Asking about drawn scenes, whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from janus_edge.evaluation.options import Options
from janus_edge.evaluation.report import Asked, Understanding
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.questions import KINDS, Question, question, right
from janus_edge.shapes.scene import Scene, random_scene

if TYPE_CHECKING:
    from janus_edge.runtime.pipeline import Janus

#: Tokens of an answer at most; the longest description has less than half as many.
LONGEST = 64

_SCENES = 53  # the space of seeds in which training draws no scenes


def questions(kind: str, number: int, seed: int) -> list[tuple[Scene, Question]]:
    """``number`` questions of one kind, each about a scene of its own that allows it.

    The first n of a longer list are those of a shorter one. Raises ValueError for another kind.
    """
    found: list[tuple[Scene, Question]] = []
    for index in count():
        if len(found) == number:
            break
        rng = np.random.default_rng([_SCENES, seed, KINDS.index(kind), index])
        scene = random_scene(rng)
        asked = question(scene, kind, rng)
        if asked:
            found.append((scene, asked))
    return found


def answer(
    janus: Janus,
    options: Options,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Understanding:
    """Ask every question in a conversation of its own, greedily; ``progress(done, total)``.

    Raises what ``Janus.describe`` raises.
    """
    lists = [questions(kind, options.questions, options.seed) for kind in KINDS]
    rounds: list[list[Asked]] = []
    progress(0, options.questions * len(KINDS))
    for once in zip(*lists, strict=True):
        rounds.append([_ask(janus, scene, asked) for scene, asked in once])
        progress(len(rounds) * len(KINDS), options.questions * len(KINDS))
    return Understanding.of(rounds)


def _ask(janus: Janus, scene: Scene, asked: Question) -> Asked:
    picture = Image.fromarray(draw(scene))
    said = janus.describe(picture, asked.text, max_new_tokens=LONGEST).text
    return Asked(asked.kind, asked.text, asked.answer, said, right(asked, said))
