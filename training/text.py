"""The miniature's tokenizer, and scenes as rows of token ids just as the runtime makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dataset import HELD_OUT, scene
from miniature import CONFIG, VOCABULARY

from janus_edge.export.synthetic_tokenizer import build_tokenizer
from janus_edge.runtime.prompts import (
    DEFAULT_SYSTEM_PROMPT,
    Tokenizer,
    follow_up_ids,
    question_ids,
    text_to_image_ids,
)
from janus_edge.shapes.captions import caption
from janus_edge.shapes.questions import KINDS, Question, question
from janus_edge.shapes.scene import Scene

_SAMPLE = 4000  # scenes whose words the merges are learnt from
#: How often each kind of question is asked, as far as scenes allow it: places and relations, which
#: few scenes allow, are learnt last.
_WEIGHTS = np.array([3, 5, 1, 9, 9, 2, 3]) / 32


def write_tokenizer(folder: Path) -> Tokenizer:
    """``tokenizer.json``, with merges from captions, questions and the system prompt.

    One that is there is kept: a model in training knows no other.
    """
    if (folder / "tokenizer.json").exists():
        return Tokenizer.from_file(folder / "tokenizer.json")
    sentences = [DEFAULT_SYSTEM_PROMPT] * 50
    for index in range(_SAMPLE):
        rng = np.random.default_rng([3, index])
        shown = scene(HELD_OUT + index)
        sentences.append(caption(shown, rng))
        sentences += [f"\n{q.text}\n\n {q.answer}" for q in questions(shown, 2, rng)]
    build_tokenizer(VOCABULARY, sentences).save(str(folder / "tokenizer.json"))
    return Tokenizer.from_file(folder / "tokenizer.json")


def questions(shown: Scene, count: int, rng: np.random.Generator) -> list[Question]:
    """So many questions about a scene, of kinds drawn anew until the scene allows them."""
    asked: list[Question] = []
    while len(asked) < count:
        found = question(shown, KINDS[int(rng.choice(len(KINDS), p=_WEIGHTS))], rng)
        if found:
            asked.append(found)
    return asked


def painting_ids(tokenizer: Tokenizer, shown: Scene, rng: np.random.Generator) -> list[int]:
    """The text-to-image prompt of a scene, BOS to image_start."""
    return text_to_image_ids(tokenizer, caption(shown, rng))


def opening(tokenizer: Tokenizer) -> list[int]:
    """What every first question about one picture begins with, the picture included."""
    ids = question_ids(tokenizer, "?", 1, CONFIG.image_tokens)
    return ids[: len(ids) - ids[::-1].index(tokenizer.special.image_end)]


def asking(tokenizer: Tokenizer, asked: Question, first: bool) -> tuple[list[int], list[int]]:
    """Ids of a question, and of its answer with EOS; a first one continues :func:`opening`."""
    if first:
        ids = question_ids(tokenizer, asked.text, 1, CONFIG.image_tokens)
        before = ids[len(opening(tokenizer)) :]
    else:
        before = follow_up_ids(tokenizer, asked.text)[1:]  # its EOS ends the answer before it
    return before, [*tokenizer.encode(" " + asked.answer), tokenizer.special.eos]
