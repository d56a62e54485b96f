"""One request after another to a Janus whose calls are noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from PIL import Image

from janus_edge.bench.recorder import (
    CALLER,
    Binding,
    Recorder,
    TimedEmbeddings,
    TimedPainter,
    TimedTokenizer,
    timed_backend,
)
from janus_edge.bench.timeline import Timeline, evened, placed, timeline
from janus_edge.graphs import Graph
from janus_edge.runtime.generation import Parallel
from janus_edge.runtime.kv_cache import cache_bytes, cache_dtype, planned_capacity
from janus_edge.runtime.pass_costs import pass_costs
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import text_to_image_ids
from janus_edge.runtime.window_policy import BestWindow

#: Is called after each code or token, off the clock.
Tick = Callable[[], None]


class _Timed(Janus):
    """A Janus behind timed wrappers, which measures what passes cost off the clock, and once."""

    costs: Mapping[int, float]

    def _best_window(self) -> BestWindow:
        return BestWindow(self.costs)


class Requests:
    """Requests to ``janus``, which from now on notes its calls in ``recorder``.

    ``threads`` are those that ``janus`` was opened with.
    """

    def __init__(self, janus: Janus, recorder: Recorder, threads: int = 0) -> None:
        # a Janus of our own: its parts are the given one's behind timed wrappers
        self._backend = timed_backend(janus.backend, recorder)
        self._timed, self._given = _Timed(janus.bundle, self._backend), (janus, threads)
        self._timed.tokenizer = TimedTokenizer(janus.tokenizer, recorder)
        self._timed.text_embeddings = TimedEmbeddings(janus.text_embeddings, recorder)
        self._recorder = recorder

    def paint(
        self, prompt: str, prompts: int, pictures: int, steps: int, seed: int, tick: Tick,
        parallel: Parallel = "off",
    ) -> Timeline:  # fmt: skip
        """Paint ``pictures`` of ``prompts`` equal prompts, ``steps`` codes of each; no more if all.

        Several codes a pass with ``parallel``, whose last pass may gain more than were asked for.
        """
        recorder, timed = self._recorder, self._timed
        if parallel == "auto" and not hasattr(timed, "costs"):
            janus, threads = self._given
            timed.costs = pass_costs(janus.bundle, janus.backend, threads)
        recorder.take()
        known: dict[int, int] = {}
        begin = recorder.clock()
        generation = timed.generate_steps([prompt] * prompts, pictures, seed, parallel=parallel)
        for step in generation:
            with recorder.note(CALLER):
                for _ in range(min(step.step, steps) - max(known.values(), default=0)):
                    tick()
            known[step.passes] = step.step
            if steps <= step.step < step.total:
                generation.close()  # type: ignore[attr-defined]
                break
        found = timeline("image", begin, recorder.clock(), recorder.take())
        if parallel != "off":
            passes = placed(found.steps, found.prompt_tokens, known)
            return replace(found, steps=passes, drawn=max(known.values()))
        if isinstance(self._backend, TimedPainter):
            return self._painted(found, prompt, 2 * prompts * pictures, self._backend.every)
        return found

    def _painted(self, found: Timeline, prompt: str, rows: int, every: int) -> Timeline:
        """What a backend with its own loop does not show: the prompt's length, and the cache."""
        config = self._timed.bundle.manifest.config
        length = len(text_to_image_ids(self._timed.tokenizer, prompt))
        self._recorder.take()  # that text was read once more
        steps = [replace(step, position=step.position + length) for step in found.steps]
        capacity = planned_capacity(config.language, [length], config.image_tokens - 1)
        position = cache_bytes(config.language, rows, 1, cache_dtype(self._backend).itemsize)
        binding = Binding(rows, 1, capacity, position)
        return replace(found, steps=evened(steps, every), prompt_tokens=length, binding=binding)

    def answer(
        self,
        question: str,
        images: list[Image.Image],
        tokens: int,
        capacity: int | None,
        tick: Tick,
    ) -> Timeline:
        """Ask ``question`` about ``images`` and take ``tokens`` of the answer, whatever they are.

        With ``capacity`` in a conversation of so many positions, else in one that just fits.
        """
        recorder, janus = self._recorder, self._timed
        recorder.take()
        begin = recorder.clock()
        if capacity is None:
            stream = janus.describe(images, question, tokens, stream=True)
        else:
            stream = janus.chat(capacity=capacity).stream(question, images, max_new_tokens=tokens)
        for _ in stream:
            with recorder.note(CALLER):
                tick()
        end = recorder.clock()
        return timeline("text", begin, end, recorder.take())

    def decode_picture(self, seed: int) -> int:
        """Nanoseconds in which the VQ decoder turns random codes into a picture."""
        config = self._timed.bundle.manifest.config
        codes = np.random.default_rng(seed).integers(
            0, config.vq.codebook_size, config.image_tokens
        )
        self._recorder.take()
        self._timed.decode(codes)
        return sum(e.nanoseconds for e in self._recorder.take() if e.what == Graph.VQ_DECODER.value)
