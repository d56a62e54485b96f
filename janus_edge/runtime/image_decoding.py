"""Text to image codes under classifier-free guidance: prefill, step, and the loop around them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from janus_edge.config import JanusConfig
from janus_edge.errors import BackendError
from janus_edge.graphs import Graph
from janus_edge.lazy_noise import DecidingNoise, GuidedScores
from janus_edge.runtime.finite import largest_magnitude
from janus_edge.runtime.kv_cache import KVCache, planned_capacity
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.session import Backend


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What to paint.

    ``prompts`` holds, per distinct prompt, the embeddings [S, H] of its conditional row and of its
    unconditional row. Picture p shows prompt ``prompt_of[p]`` and draws its noise from
    (``seeds[p]``, ``indices[p]``), whatever else is in the batch.
    """

    prompts: Sequence[tuple[NDArray[Any], NDArray[Any]]]
    prompt_of: Sequence[int]
    seeds: Sequence[int]
    indices: Sequence[int]
    guidance_scale: float
    temperature: float


class ImageDecoder:
    """Buffers and bindings of one request: prefilled when made, then one code per picture a step.

    Rows are [conditional of every picture..., unconditional of every picture...]. Every buffer is
    made here once; a step moves nothing but the noise. ``codes`` [P] and ``logits`` [2P, K] are
    the last step's; writing other codes before a step makes it go on from those (teacher forcing).
    """

    def __init__(self, config: JanusConfig, backend: Backend, request: ImageRequest) -> None:
        pictures, vocabulary = len(request.prompt_of), config.vq.codebook_size
        self._position = 0
        # the code of the last position is never fed back
        self._cache, hidden = prefill(config, backend, request, config.image_tokens - 1)
        self.logits = np.zeros((2 * pictures, vocabulary), backend.float_dtype)
        greedy = request.temperature == 0  # no noise, so dividing by 1 finds the same maximum
        temperature = 1.0 if greedy else request.temperature
        self._noise = DecidingNoise(request.seeds, request.indices, vocabulary)
        self._scores = GuidedScores(pictures, vocabulary, request.guidance_scale, temperature)
        self.codes = np.zeros(pictures, np.int64)
        head = backend.session(Graph.IMAGE_HEAD)
        self._step = LanguageModel(backend.session(Graph.LANGUAGE_MODEL)).plan(self._cache, 1)
        self._head = head.bind(
            {"hidden_states": self._step.hidden_states[:, 0]}, {"logits": self.logits}
        )
        self._greedy = greedy
        self._sample = backend.session(Graph.GUIDED_SAMPLER).bind(
            {
                "logits": self.logits,
                "guidance_scale": np.array(request.guidance_scale, np.float32),
                "temperature": np.array(temperature, np.float32),
                "noise": self._noise.noise,
            },
            {"image_codes": self.codes},
        )
        self._embed = backend.session(Graph.IMAGE_EMBEDDING).bind(
            {"image_codes": self.codes}, {"inputs_embeds": self._step.inputs_embeds}
        )
        self._step.hidden_states[:, 0] = hidden

    @property
    def hidden_states(self) -> NDArray[Any]:
        """The last hidden states [2P, H]; overwritten by the next step."""
        return self._step.hidden_states[:, 0]

    def first(self) -> NDArray[np.int64]:
        """The codes [P] that follow the prompt; call once, before :meth:`step`."""
        self._draw()
        return self.codes

    def step(self) -> NDArray[np.int64]:
        """The next codes [P]; overwritten by the next step."""
        self._embed()
        self._step.run()
        self._cache.lengths += 1
        self._draw()
        return self.codes

    def _draw(self) -> None:
        self._head()
        largest = require_finite(self.logits, self._position + 1)
        if self._greedy:
            pass
        elif not self._noise.chooses:
            self._noise.draw_all(self._position)
        else:
            error = self._scores.of(self.logits, largest)
            self._noise.draw(self._position, self._scores.scores, error)
        self._sample()
        self._position += 1


@runtime_checkable
class ImagePainter(Protocol):
    """A backend that has a loop of its own, which draws the same codes as the loop over sessions."""

    def image_codes(
        self, config: JanusConfig, request: ImageRequest
    ) -> Iterator[NDArray[np.int64]]:
        """As the function of this name."""
        ...


def image_codes(
    config: JanusConfig, backend: Backend, request: ImageRequest
) -> Iterator[NDArray[np.int64]]:
    """The codes [P] of every position in turn; close the generator to stop early."""
    if isinstance(backend, ImagePainter):
        yield from backend.image_codes(config, request)
        return
    decoder = ImageDecoder(config, backend, request)
    yield decoder.first().copy()
    for _ in range(config.image_tokens - 1):
        yield decoder.step().copy()


def require_finite(logits: NDArray[Any], step: int | None = None) -> float:
    """The largest magnitude of image logits as they are stored (bfloat16 as uint16).

    Raises BackendError unless all of them are finite, with the number of the ``step`` if given.
    """
    largest = largest_magnitude(logits)
    if not math.isfinite(largest):
        where = "" if step is None else f" at step {step}"
        raise BackendError(
            f"the image logits{where} are not finite: the model's values overflow this "
            "precision; export with --precision fp32"
        )
    return largest


def prefill(
    config: JanusConfig, backend: Backend, request: ImageRequest, new: int
) -> tuple[KVCache, NDArray[Any]]:
    """The cache of every picture's two rows, with room for ``new`` positions behind the prompts.

    Returns the last hidden states [2P, H], too. Distinct prompts are run once each. Raises
    CapacityError beyond the positions that the model knows.
    """
    rows = [cond for cond, _ in request.prompts] + [uncond for _, uncond in request.prompts]
    lengths = [len(row) for row in rows]
    capacity = planned_capacity(config.language, lengths, new)
    own = list(request.prompt_of) == list(range(len(request.prompts)))
    first = capacity if own else planned_capacity(config.language, lengths, 0)
    cache = KVCache.of(backend, config.language, len(rows), first)
    hidden = LanguageModel(backend.session(Graph.LANGUAGE_MODEL)).prefill(cache, rows)
    if own:
        return cache, hidden
    count = len(request.prompts)
    index = [*request.prompt_of, *(count + p for p in request.prompt_of)]
    return cache.fan_out(index, capacity), hidden[index]
