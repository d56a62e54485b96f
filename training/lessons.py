"""Batches of stages 4 and 5: prompts of weak categories, and claims among the questions.

Scenes are drawn on the fly. Three in ten paintings keep a caption of the first stages, so that no
wording is forgotten; their backgrounds are graded in one of forty, not one in eight, because no
prompt asks for it.
"""

from __future__ import annotations

import numpy as np
from batches import Asking, Painting, asking_batch, painting_batch
from category_prompts import requests, scene_for
from patch_codes import PatchCodes
from text import questions

from janus_edge.runtime.prompts import Tokenizer, text_to_image_ids
from janus_edge.shapes.captions import caption
from janus_edge.shapes.claims import claim_question
from janus_edge.shapes.drawing import draw
from janus_edge.shapes.questions import Question
from janus_edge.shapes.scene import Background, Scene, random_scene

#: How often each of CATEGORIES is taught.
WEIGHTS = (2, 8, 14, 3, 23, 25, 25)
_PLAIN_CAPTIONS = 0.3
_GRADED = 0.2  # share of the graded backgrounds, one scene in eight, that is kept
_CLAIMS = 0.3  # share of the questions
_PAINTINGS, _ASKINGS = 71, 73  # the spaces of their seeds


def lesson_paintings(
    codes: PatchCodes, tokenizer: Tokenizer, step: int, size: int, paired: int
) -> Painting:
    """``size`` prompts with the codes of scenes that show them, the first ``paired`` in pairs."""
    rng = np.random.default_rng([_PAINTINGS, step])
    shown, texts = [], []
    for asked in requests(WEIGHTS, size, rng):
        if rng.random() < _PLAIN_CAPTIONS:
            shown.append(thinned_scene(rng))
            texts.append(caption(shown[-1], rng))
        else:
            shown.append(scene_for(asked, rng))
            texts.append(asked.prompt.text)
    painted = codes(np.stack([draw(s) for s in shown]))
    rows = [(text_to_image_ids(tokenizer, t), c) for t, c in zip(texts, painted, strict=True)]
    return painting_batch(rows, shown, tokenizer, paired, rng)


def lesson_askings(tokenizer: Tokenizer, step: int, size: int) -> Asking:
    """``size`` pictures with questions, three in ten of them claims."""
    rng = np.random.default_rng([_ASKINGS, step])
    shown = [thinned_scene(rng) for _ in range(size)]
    pictures = np.stack([draw(s) for s in shown])
    return asking_batch(shown, pictures, tokenizer, rng, _questions)


def thinned_scene(rng: np.random.Generator) -> Scene:
    """A random scene; most graded backgrounds become plain."""
    scene = random_scene(rng)
    if scene.background.end is None or rng.random() < _GRADED:
        return scene
    return Scene(scene.items, Background(scene.background.tone))


def _questions(shown: Scene, count: int, rng: np.random.Generator) -> list[Question]:
    return [
        claim_question(shown, rng) if rng.random() < _CLAIMS else questions(shown, 1, rng)[0]
        for _ in range(count)
    ]
