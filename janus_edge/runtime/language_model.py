"""The language model's graph with the model's own signature: prefill, and planned steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.session import Call, Session

#: New tokens per row in one call of a prefill: bounds its scratch memory (attention scores are
#: [B, heads, chunk, capacity]); whole and chunked prefill give the same results.
PREFILL_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Step:
    """A call of the language model with fixed buffers: fill ``inputs_embeds``, run, read.

    ``inputs_embeds`` and ``hidden_states`` [B, S, H] belong to the step and are overwritten by the
    next run. Running does not advance the cache's lengths: the caller knows how much of it counts.
    """

    inputs_embeds: NDArray[Any]
    hidden_states: NDArray[Any]
    run: Call


class LanguageModel:
    """`language_model` behind its binding names."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def plan(self, cache: KVCache, new: int) -> Step:
        """Buffers and bindings for ``new`` tokens per row on ``cache``."""
        shape = (cache.rows, new, cache.config.hidden_size)
        embeds, hidden = np.zeros(shape, cache.float_dtype), np.zeros(shape, cache.float_dtype)
        inputs = {"inputs_embeds": embeds, "past_lengths": cache.lengths, **cache.named("past")}
        outputs = {
            "hidden_states": hidden,
            "lengths": np.zeros(cache.rows, np.int64),
            **cache.named("present"),
        }
        return Step(embeds, hidden, self._session.bind(inputs, outputs))

    def prefill(self, cache: KVCache, rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Append each row's embeddings [S_b, H]; returns the last hidden state of each, [B, H].

        Rows may differ in length (at least one token each): they are padded on the right, and a
        pad is overwritten when its row goes on. Raises CapacityError when a row does not fit.
        """
        counts = np.array([len(row) for row in rows])
        cache.check_room(int(counts.max()), what="the prompt")
        last = np.zeros((len(rows), cache.config.hidden_size), cache.float_dtype)
        plans: dict[int, Step] = {}
        for start in range(0, int(counts.max()), PREFILL_CHUNK):
            new = min(PREFILL_CHUNK, int(counts.max()) - start)
            if new not in plans:
                plans = {new: self.plan(cache, new)}
            step, valid = plans[new], np.clip(counts - start, 0, new)
            for index, row in enumerate(rows):
                step.inputs_embeds[index, : valid[index]] = row[start : start + valid[index]]
            step.run()
            for index in np.flatnonzero(valid).tolist():
                last[index] = step.hidden_states[index, valid[index] - 1]
            cache.lengths += valid
        return last
