"""The logits of every position after given codes or tokens, from one pass of the language model.

Teacher forcing (Williams and Zipser, 1989): the model is fed the given codes instead of its own, so
that two models can be compared position by position. The mask is causal, so one pass over the
prompt and the codes finds what decoding step by step finds, within rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.graph_outputs import graph_outputs
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import text_to_image_ids, unconditional_ids

Floats = NDArray[np.float32]


def forced_logits(
    janus: Janus, prompt: str, codes: NDArray[np.integer[Any]]
) -> tuple[Floats, Floats]:
    """Conditional and unconditional image logits [T, K] of each position, given ``codes`` [T].

    Row t follows the prompt and ``codes[:t]``; the last code is not fed. Both in float32, as
    :class:`ImageDecoder` finds them step by step. Raises InputError for codes that are none of the
    model's or more than a picture has, CapacityError for a prompt that is too long.
    """
    embeds = painting_rows(janus, prompt, codes)
    hidden = graph_outputs(janus, Graph.LANGUAGE_MODEL, embeds)[:, -len(codes) :]
    conditional, unconditional = (image_logits(janus, row) for row in hidden)
    return conditional, unconditional


def guided(conditional: Floats, unconditional: Floats, scale: float) -> Floats:
    """Classifier-free guidance: unconditional + scale (conditional - unconditional), in float32."""
    return unconditional + np.float32(scale) * (conditional - unconditional)


def painting_rows(janus: Janus, prompt: str, codes: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Embeddings [2, S + T - 1, H] of a prompt of S tokens and of ``codes[:-1]``.

    The conditional row, then the unconditional one. Errors as :func:`forced_logits`.
    """
    config, given = janus.bundle.manifest.config, np.asarray(codes)
    if given.ndim != 1 or given.dtype.kind not in "iu" or not given.size:
        raise InputError(f"codes must be a row of integers, found {given.dtype} {given.shape}")
    if len(given) > config.image_tokens:
        raise InputError(f"a picture has {config.image_tokens} codes, found {len(given)}")
    if not 0 <= given.min() <= given.max() < config.vq.codebook_size:
        raise InputError(
            f"codes must be from 0 to {config.vq.codebook_size - 1}, "
            f"found {given.min()} to {given.max()}"
        )
    ids = text_to_image_ids(janus.tokenizer, prompt)
    rows = (ids, unconditional_ids(ids, janus.tokenizer.special))
    fed = graph_outputs(janus, Graph.IMAGE_EMBEDDING, given[:-1].astype(np.int64))[:, 0]
    return np.stack([np.concatenate([janus.text_embeddings(row), fed]) for row in rows])


def image_logits(janus: Janus, hidden_states: NDArray[Any]) -> Floats:
    """Hidden states [N, H] -> image logits [N, K] in float32."""
    return graph_outputs(janus, Graph.IMAGE_HEAD, hidden_states).astype(np.float32, copy=False)


def answering_hidden_states(
    janus: Janus, question: Sequence[int], images: Sequence[Image.Image], answer: Sequence[int]
) -> NDArray[Any]:
    """The hidden states [n, H] from which each of the n tokens of ``answer`` is drawn.

    ``question`` is the row of token ids of ``question_ids``, with the places of ``images`` (RGB).
    Raises InputError for an answer without tokens, CapacityError where the row is too long.
    """
    if not len(answer):
        raise InputError("an answer has at least one token (the end of the sentence), found none")
    prompt = janus.embed_prompt(question, images)
    row = np.concatenate([prompt, janus.text_embeddings(answer[:-1])])
    return graph_outputs(janus, Graph.LANGUAGE_MODEL, row[None])[0, -len(answer) :]


def text_logits(janus: Janus, hidden_states: NDArray[Any]) -> Floats:
    """Hidden states [N, H] -> text logits [N, V] in float32."""
    return graph_outputs(janus, Graph.TEXT_HEAD, hidden_states).astype(np.float32, copy=False)
