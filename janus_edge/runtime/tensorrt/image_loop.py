"""Painting on the GPU as a whole: a step is one launch of a CUDA graph.

    noise, pinned  ->  noise        image_embedding -> language_model -> image_head -> guided_sampler
                       codes  ->    codes  ->  a row of the history  ->  the host, every n steps

Codes, hidden states, the cache and its lengths never leave the GPU. The host computes the noise of the
next step while the GPU is at the last one, and looks at the logits of a step when it is done with it.
If `language_model` returns only new keys and values, the kernel that appends them to the cache is part
of its run (:mod:`appending`) and is captured with it. Graphs, noise and order are those of
:class:`ImageDecoder`, so the codes are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.config import JanusConfig
from janus_edge.graphs import Graph
from janus_edge.noise import gumbel_rows
from janus_edge.runtime.cuda.stream import CudaGraph
from janus_edge.runtime.image_decoding import ImageRequest, prefill, require_finite
from janus_edge.runtime.kv_cache import planned_capacity
from janus_edge.runtime.tensorrt.execution import Launch, Place
from janus_edge.runtime.tensorrt.formats import FORMATS
from janus_edge.runtime.tensorrt.plan import STEP_GRAPHS

if TYPE_CHECKING:
    from janus_edge.runtime.tensorrt.backend import TensorRTBackend

_LM = Graph.LANGUAGE_MODEL

#: Steps that may be under way: one runs while the noise of the next is made.
_AHEAD = 2


class Slot:
    """Pinned memory of one step under way: its noise goes from here, its logits come here."""

    def __init__(self, loop: ImageLoop) -> None:
        device = loop.device
        self.noise = device.pinned(loop.noise.shape, np.float32)
        self.logits = device.pinned(loop.logits.shape, loop.logits_format.stored)
        self._done = device.stream.event()
        self._step: int | None = None

    def begin(self, step: int) -> None:
        """Note that step number ``step`` is queued with all that it does to this memory."""
        self._done.record()
        self._step = step

    def end(self) -> None:
        """Wait for the step that is under way, if any; raises BackendError for its logits."""
        step, self._step = self._step, None
        if step is not None:
            self._done.synchronize()
            require_finite(self.logits, step)  # checks their bits, including bfloat16


class ImageLoop:
    """Memory and launches of one request, prefilled when made. Raises as :class:`ImageDecoder`."""

    def __init__(
        self, config: JanusConfig, backend: TensorRTBackend, request: ImageRequest
    ) -> None:
        environment = backend.environment()
        self.device, self._scratch = environment.device, environment.scratch
        self.device.make_current()
        self._backend, self._request = backend, request
        self._total, self._pictures = config.image_tokens, len(request.prompt_of)
        self._greedy = request.temperature == 0
        language = backend.language_plans()
        plans = {graph: backend.plan(graph) for graph in STEP_GRAPHS if graph is not _LM}
        float_format = plans[Graph.IMAGE_HEAD].formats["logits"]
        self.logits_format = float_format

        def place(what: str, shape: tuple[int, ...], dtype: str) -> Place:
            form = FORMATS.get(dtype, float_format)
            size = int(np.prod(shape)) * form.stored.itemsize
            return Place(self.device.allocate(size, what), shape)

        rows, hidden = 2 * self._pictures, config.language.hidden_size
        held = max(rows, language.least_rows)  # in the language model; the rest is padding
        codebook = config.vq.codebook_size
        self.logits = place("logits", (rows, codebook), "float")
        self.noise = place("noise", (self._pictures, codebook), "float32")
        self._codes = place("codes", (self._pictures,), "int64")
        self._history = place("codes", (self._total, self._pictures), "int64")
        embeds = place("embeddings", (held, 1, hidden), "float")
        self._hidden = place("hidden states", (held, 1, hidden), "float")
        self._past = place("lengths", (held,), "int64")
        self._lengths = place("lengths", (held,), "int64")
        scale, temperature = place("settings", (), "float32"), place("settings", (), "float32")
        # before the prefill: it costs more than noticing now what the engines were not built for
        self._embed = plans[Graph.IMAGE_EMBEDDING].launch(
            {"image_codes": self._codes},
            {"inputs_embeds": Place(embeds.buffer, (rows, 1, hidden))},
        )
        self._head = plans[Graph.IMAGE_HEAD].launch(
            {"hidden_states": Place(self._hidden.buffer, (rows, hidden))}, {"logits": self.logits}
        )
        self._sample = plans[Graph.GUIDED_SAMPLER].launch(
            {
                "logits": self.logits,
                "guidance_scale": scale,
                "temperature": temperature,
                "noise": self.noise,
            },
            {"image_codes": self._codes},
        )
        prompts = [len(row) for pair in request.prompts for row in pair]
        language.capacity_for(planned_capacity(config.language, prompts, self._total - 1))
        cache, states = prefill(config, backend, request, self._total - 1)
        caches = backend.language_model().resident(cache)
        self._decode = language.launch(
            {"inputs_embeds": embeds, "past_lengths": self._past, **_named(caches, "past_")},
            {"hidden_states": self._hidden, "lengths": self._lengths, **_named(caches, "present_")},
        )
        for filled in (embeds, self._past):  # the padding rows too
            self.device.stream.zero(filled.address, filled.buffer.nbytes)
        self._upload(self._hidden, float_format.encode(states))
        self._upload(self._past, cache.lengths)
        self._upload(scale, np.array(request.guidance_scale, np.float32))
        # no noise, so dividing by 1 finds the same maximum
        divisor = 1.0 if self._greedy else request.temperature
        self._upload(temperature, np.array(divisor, np.float32))
        self.device.stream.zero(self.noise.address, self.noise.buffer.nbytes)
        self.device.stream.synchronize()
        self._drawn = self.device.pinned((self._total, self._pictures), np.int64)
        self._slots = [Slot(self) for _ in range(_AHEAD)]
        self._graph: CudaGraph | None = None
        self._stamp: tuple[int, ...] = ()

    def codes(self) -> Iterator[NDArray[np.int64]]:
        """The codes [P] of every position in turn, some of them at once."""
        taken = 0
        for position in range(self._total):
            self.device.make_current()
            self._queue(position)
            done = position + 1
            if done == self._total or done % self._backend.fetch_every == 0:
                self._fetch(taken, done)
                yield from self._drawn[taken:done].copy()
                taken = done

    def _queue(self, position: int) -> None:
        """Queue one step; returns while it runs."""
        stream, slot = self.device.stream, self._slots[position % _AHEAD]
        slot.end()
        if not self._greedy:
            request, size = self._request, self.noise.shape[1]
            gumbel_rows(request.seeds, request.indices, position, size, out=slot.noise)
            stream.upload(self.noise.address, slot.noise)
        if position == 0:
            self._head()
            self._sample()
        else:
            self._step()
        stream.download(slot.logits, self.logits.address)
        row = 8 * self._pictures
        stream.copy(self._history.address + position * row, self._codes.address, row)
        slot.begin(position + 1)

    def _step(self) -> None:
        """From codes to the next codes; captured once it has run with these shapes and addresses.

        The first run behind a change may allocate and compile, which a capture must not. Anyone
        who uses the contexts in between, or moves the scratch memory, makes the capture void.
        """
        if not self._backend.cuda_graph:
            self._chain()
        elif self._stamp != self._state():
            self._graph = None
            self._chain()
            self._stamp = self._state()
        else:
            if self._graph is None:
                self._graph = self._captured()
            self._graph.launch()

    def _chain(self) -> None:
        self._embed()
        self._decode()
        # true lengths: what was padded in the prefill is overwritten
        nbytes = self._past.buffer.nbytes
        self.device.stream.copy(self._past.address, self._lengths.address, nbytes)
        self._head()
        self._sample()

    def _captured(self) -> CudaGraph:
        for launch in self._launches:
            launch.execution.check_capturable()
        return self.device.stream.capture(self._chain)

    @property
    def _launches(self) -> tuple[Launch, ...]:
        return self._embed, self._decode, self._head, self._sample

    def _state(self) -> tuple[int, ...]:
        """Changes with whatever a capture holds fast."""
        revisions = (launch.execution.revision for launch in self._launches)
        return self._scratch.generation, *revisions

    def _fetch(self, first: int, end: int) -> None:
        """Wait for all steps, and copy the codes of positions ``first`` to ``end``."""
        stream, row = self.device.stream, 8 * self._pictures
        stream.download(self._drawn[first:end], self._history.address + first * row)
        for step in range(max(first, end - _AHEAD), end):  # the older first
            self._slots[step % _AHEAD].end()
        stream.synchronize()

    def _upload(self, place: Place, values: NDArray[Any]) -> None:
        self.device.stream.upload(place.address, np.ascontiguousarray(values))
        self.device.stream.synchronize()  # `values` may end here


def _named(places: Mapping[str, Place], stem: str) -> dict[str, Place]:
    return {name: place for name, place in places.items() if name.startswith(stem)}
