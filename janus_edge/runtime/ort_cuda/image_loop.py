"""Painting with the model on the device; graphs, noise and order are those of `ImageDecoder`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from janus_edge.config import JanusConfig
from janus_edge.lazy_noise import DecidingNoise, GuidedScores
from janus_edge.runtime.image_decoding import ImageRequest, prefill, require_finite
from janus_edge.runtime.ort_cuda.image_step import ImageStep

if TYPE_CHECKING:
    from janus_edge.runtime.ort_cuda.backend import OrtCudaBackend


def image_codes(
    config: JanusConfig, backend: OrtCudaBackend, request: ImageRequest
) -> Iterator[NDArray[np.int64]]:
    """The codes [P] of every position in turn; raises as the loop over sessions."""
    # the code of the last position is never fed back
    cache, hidden = prefill(config, backend, request, config.image_tokens - 1)
    noise = _Noise(config, request)
    step = ImageStep(config, backend, request, cache, hidden)
    for position in range(config.image_tokens):
        if position:
            step.advance()
        logits = step.logits()
        largest = require_finite(logits, position + 1)
        yield step.draw(noise.of(logits, largest, position))


class _Noise:
    """The noise of each position, of which only what can decide is computed."""

    def __init__(self, config: JanusConfig, request: ImageRequest) -> None:
        pictures, size = len(request.prompt_of), config.vq.codebook_size
        self._greedy = request.temperature == 0
        self._noise = DecidingNoise(request.seeds, request.indices, size)
        self._scores = GuidedScores(
            pictures, size, request.guidance_scale, request.temperature or 1.0
        )

    def of(
        self, logits: NDArray[np.generic], largest: float, position: int
    ) -> NDArray[np.float32] | None:
        """The noise [P, K] for logits [2P, K]; None at temperature 0."""
        if self._greedy:
            return None
        if self._noise.chooses:
            error = self._scores.of(logits, largest)
            self._noise.draw(position, self._scores.scores, error)
        else:
            self._noise.draw_all(position)
        return self._noise.noise
