"""Token after token of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.config import JanusConfig
from janus_edge.graphs import Graph
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.session import Backend
from janus_edge.runtime.text_embeddings import TextEmbeddings
from janus_edge.runtime.text_sampler import TextSampler


def answer_tokens(
    config: JanusConfig,
    backend: Backend,
    embeddings: TextEmbeddings,
    cache: KVCache,
    prompt: NDArray[Any],
    sample: TextSampler,
    *,
    stop: int,
    max_new_tokens: int,
) -> Iterator[int]:
    """Append ``prompt`` [S, H] to the one row of ``cache`` and decode what follows.

    Yields each token, the ``stop`` token included if it comes, at most ``max_new_tokens``. A token
    is in the cache when the next one is asked for: the last one yielded is not.
    """
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    hidden = model.prefill(cache, [prompt])
    step = model.plan(cache, 1)
    logits = np.zeros((1, config.language.vocab_size), backend.float_dtype)
    head = backend.session(Graph.TEXT_HEAD).bind(
        {"hidden_states": step.hidden_states[:, 0]}, {"logits": logits}
    )
    step.hidden_states[:, 0] = hidden
    for count in range(1, max_new_tokens + 1):
        head()
        # keyed by the position in the conversation, so that no two turns share their noise
        token = sample(logits[0].astype(np.float32, copy=False), int(cache.lengths[0]), 0)
        yield token
        if token == stop or count == max_new_tokens:
            return
        cache.check_room(1, what="the answer")
        step.inputs_embeds[0] = embeddings([token])
        step.run()
        cache.lengths += 1
