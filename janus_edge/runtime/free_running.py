"""Painting codes as they come, and how far two paintings of the same noise agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_edge.runtime.image_decoding import ImageRequest, image_codes
from janus_edge.runtime.kv_cache import cache_bytes, planned_capacity
from janus_edge.runtime.measuring_options import MeasuringOptions, Progress
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.prompts import text_to_image_ids, unconditional_ids

#: Pictures are painted together as long as their caches stay below this.
_CACHE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class FreeRun:
    """A picture painted by both bundles: ``equal_codes`` of ``codes`` are the reference's.

    ``first_difference`` is the first position whose code is another one, None if there is none.
    From there on both go ways of their own: many pictures fit a prompt.
    """

    prompt: str
    codes: int
    equal_codes: int
    first_difference: int | None

    @classmethod
    def of(cls, prompt: str, reference: NDArray[np.int64], codes: NDArray[np.int64]) -> FreeRun:
        """Compare codes [S] with the reference's [S]."""
        same = reference == codes
        first = None if same.all() else int(np.argmin(same))
        return cls(prompt, len(codes), int(same.sum()), first)


def paint(
    janus: Janus, options: MeasuringOptions, count: int, what: str, progress: Progress
) -> list[NDArray[np.int64]]:
    """The codes [S] of the first ``count`` prompts, each with its own noise.

    ``progress`` is called with ``what``. The ``free_running`` prompts are painted apart from the
    others, so that two bundles paint them in equal batches: a matrix product may round otherwise
    with another number of rows. Raises CapacityError for a prompt that is too long, and
    BackendError.
    """
    config = janus.bundle.manifest.config
    steps = options.steps or config.image_tokens
    rows = [_guidance_ids(janus, prompt) for prompt in options.prompts[:count]]
    free = min(options.free_running, count)
    lengths = [len(conditional) for conditional, _ in rows]
    capacity = planned_capacity(config.language, lengths, config.image_tokens - 1)
    each = cache_bytes(config.language, 2, capacity, 4)
    batches = [*_batches(0, free, each), *_batches(free, count, each)]
    painted: list[NDArray[np.int64]] = []
    for done, batch in enumerate(batches):
        request = ImageRequest(
            [tuple(map(janus.text_embeddings, rows[p])) for p in batch],  # type: ignore[misc]
            range(len(batch)), [options.seed + p for p in batch], [0] * len(batch),
            options.guidance_scale, options.temperature,
        )  # fmt: skip
        drawn = []
        for step, codes in zip(
            range(steps), image_codes(config, janus.backend, request), strict=False
        ):
            drawn.append(codes)
            progress(what, done * steps + step + 1, len(batches) * steps)
        painted += list(np.stack(drawn, axis=1))
    return painted


def _guidance_ids(janus: Janus, prompt: str) -> tuple[list[int], list[int]]:
    ids = text_to_image_ids(janus.tokenizer, prompt)
    return ids, unconditional_ids(ids, janus.tokenizer.special)


def _batches(first: int, end: int, cache_bytes_each: int) -> Iterator[range]:
    size = max(1, _CACHE_BYTES // cache_bytes_each)
    for start in range(first, end, size):
        yield range(start, min(start + size, end))
