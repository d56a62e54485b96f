"""What a reference bundle paints and answers, recorded for other bundles to be measured against.

The reference runs first and can then be closed: two models of 7B need not be in memory at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus_edge.errors import BackendError, InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.free_running import paint
from janus_edge.runtime.graph_outputs import graph_outputs
from janus_edge.runtime.image_processing import load_image, preprocess
from janus_edge.runtime.measuring_options import MeasuringOptions, Progress
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import question_ids
from janus_edge.runtime.teacher_forcing import answering_hidden_states, painting_rows, text_logits


@dataclass(frozen=True, slots=True)
class PaintedPrompt:
    """``codes`` [S] int64 of one picture, and the hidden states [2, S, H] that each is drawn from.

    The first row of the hidden states is conditional, the second unconditional.
    """

    prompt: str
    codes: NDArray[np.int64]
    hidden_states: NDArray[Any]


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """A question's token ids, its image, the tokens [n] of the greedy answer, their logits [n, V].

    The answer ends with EOS unless it was cut off.
    """

    question: tuple[int, ...]
    image: Image.Image
    answer: tuple[int, ...]
    logits: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GraphRun:
    """Rows that a graph was given, and what it made of them (see ``graph_outputs``)."""

    given: NDArray[Any]
    made: NDArray[Any]


@dataclass(frozen=True, slots=True)
class ReferenceRun:
    """The reference's pictures and answers, and each graph's inputs and outputs on the way."""

    painted: tuple[PaintedPrompt, ...]
    answered: tuple[AnsweredQuestion, ...]
    graphs: dict[Graph, GraphRun]


def record(janus: Janus, options: MeasuringOptions, progress: Progress) -> ReferenceRun:
    """Let the reference paint and answer, and keep what the others are to be fed.

    Inputs of the graphs: the images for the encoders; the codes of the images and of whole pictures
    for the VQ decoder; the first prompt and its codes for the language model, the image embedding
    and the image head; the answers for the text head. Raises InputError, CapacityError, and
    BackendError, also where a graph of the reference makes values that are not finite.
    """
    total = janus.bundle.manifest.config.image_tokens
    if options.steps is not None and options.steps > total:
        raise InputError(f"steps {options.steps}: a picture of this model has {total} codes")
    # unusable images are refused before minutes of painting
    images = [load_image(image) for image in options.images or [_photograph()]]
    pictures = paint(janus, options, len(options.prompts), "painting the reference", progress)
    painted, language_model = [], None
    for prompt, codes in zip(options.prompts, pictures, strict=True):
        rows = painting_rows(janus, prompt, codes)
        hidden = graph_outputs(janus, Graph.LANGUAGE_MODEL, rows)
        language_model = language_model or GraphRun(rows, hidden)
        painted.append(PaintedPrompt(prompt, codes, hidden[:, -len(codes) :].copy()))
    whole = [codes for codes in pictures if len(codes) == total]
    if options.images is None:
        images += [janus.decode(codes) for codes in whole[: options.pictures]]
    answered, answers = _answer(janus, images, options, progress)
    assert language_model is not None  # there is a prompt
    graphs = {Graph.LANGUAGE_MODEL: language_model}
    graphs.update(_graph_runs(janus, images, painted[0], whole, answers))
    for graph, run in graphs.items():
        if not np.isfinite(run.made).all():
            raise BackendError(
                f"{janus.bundle.path}: its {graph.value} makes values that are not finite, so "
                "nothing can be measured against it; export with --precision fp32"
            )
    return ReferenceRun(tuple(painted), answered, graphs)


def _answer(
    janus: Janus, images: Sequence[Image.Image], options: MeasuringOptions, progress: Progress
) -> tuple[tuple[AnsweredQuestion, ...], NDArray[Any]]:
    """Answers about each image, and the hidden states [N, H] of all their tokens."""
    image_tokens = janus.bundle.manifest.config.image_tokens
    answered, states = [], []
    asked = [(image, question) for image in images for question in options.questions]
    for done, (image, text) in enumerate(asked, 1):
        said = janus.describe(image, text, options.max_new_tokens)
        question = question_ids(janus.tokenizer, text, 1, image_tokens)
        end = (janus.tokenizer.special.eos,) if said.finish_reason == "stop" else ()
        tokens = (*said.token_ids, *end)
        hidden = answering_hidden_states(janus, question, [image], tokens)
        logits = text_logits(janus, hidden)
        answered.append(AnsweredQuestion(tuple(question), image, tokens, logits))
        states.append(hidden)
        progress("answering with the reference", done, len(asked))
    return tuple(answered), np.concatenate(states)


def _graph_runs(
    janus: Janus,
    images: Sequence[Image.Image],
    first: PaintedPrompt,
    whole: Sequence[NDArray[np.int64]],
    answers: NDArray[Any],
) -> dict[Graph, GraphRun]:
    pixels = preprocess(images, janus.bundle.manifest.config.image_size)
    codes = graph_outputs(janus, Graph.VQ_ENCODER, pixels)
    given = {
        Graph.VISION_ENCODER: pixels,
        Graph.VQ_DECODER: np.concatenate([codes, *(row[None] for row in whole)]),
        Graph.TEXT_HEAD: answers,
        Graph.IMAGE_HEAD: first.hidden_states.reshape(-1, first.hidden_states.shape[-1]),
        Graph.IMAGE_EMBEDDING: first.codes,
    }
    runs = {g: GraphRun(rows, graph_outputs(janus, g, rows)) for g, rows in given.items()}
    return {Graph.VQ_ENCODER: GraphRun(pixels, codes), **runs}


def _photograph() -> Image.Image:
    shipped = resources.files("janus_edge") / "assets" / "astronaut.jpg"
    with resources.as_file(shipped) as path:
        return load_image(path)
