"""Paint one picture code by code, after given codes or freely, in the same way on every backend.

A wrong attention mask shows only in steps: one pass over a prompt and its codes
(`runtime/teacher_forcing.py`) is a prefill, which a wrong mask may leave right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest, image_codes
from janus_edge.runtime.pipeline import Janus

#: Prompts in the miniature's words; picture i draws its noise from seed i.
PROMPTS = ("a photo of a blue circle", "a photo of a green ring and a blue square")

GUIDANCE_SCALE, TEMPERATURE = 5.0, 1.0

Codes = NDArray[np.int64]
Logits = NDArray[np.float32]


def forced(
    janus: Janus, prompt: str, seed: int, codes: Codes | None = None, count: int | None = None
) -> tuple[Codes, Logits]:
    """Return the codes [T] that steps draw and their logits [T, 2, K], conditional row first.

    Step t follows ``codes[:t]``, or the codes drawn before it if none are given. No captured graph is
    used.
    """
    config = janus.bundle.manifest.config
    total = count or (config.image_tokens if codes is None else len(codes))
    decoder = ImageDecoder(config, janus.backend, request(janus.guidance_rows(prompt), seed))
    drawn, logits = np.zeros(total, np.int64), []
    for position in range(total):
        if position and codes is not None:
            decoder.codes[0] = codes[position - 1]
        drawn[position] = (decoder.step() if position else decoder.first())[0]
        logits.append(decoder.logits.astype(np.float32))
    return drawn, np.stack(logits)


def painted(janus: Janus, prompt: str, seed: int) -> Codes:
    """Return the codes [T] that the backend's own loop paints: a captured step on a GPU."""
    made = request(janus.guidance_rows(prompt), seed)
    return np.concatenate([*image_codes(janus.bundle.manifest.config, janus.backend, made)])


def influence(janus: Janus, prompt: str) -> float:
    """Return how much the prompt's last position changes the first step's hidden states, relatively.

    The same code follows two prompts that differ only in their last embedding. If a step attends to the
    first position only, nothing changes.
    """
    config, states = janus.bundle.manifest.config, []
    for replaced in (False, True):
        rows = [np.array(row) for row in janus.guidance_rows(prompt)]
        for row in rows:
            if replaced:
                row[-1] = row[0]
        decoder = ImageDecoder(config, janus.backend, request((rows[0], rows[1]), 0))
        decoder.first()
        decoder.codes[0] = 0
        decoder.step()
        states.append(decoder.hidden_states.astype(np.float64))
    return float(np.linalg.norm(states[1] - states[0]) / np.linalg.norm(states[0]))


def request(rows: tuple[NDArray[Any], NDArray[Any]], seed: int) -> ImageRequest:
    """Make a request for one picture from a prompt's two rows of embeddings."""
    return ImageRequest([rows], [0], [seed], [0], GUIDANCE_SCALE, TEMPERATURE)
