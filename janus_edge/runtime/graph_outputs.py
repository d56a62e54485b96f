"""One graph of a bundle on many rows at once: for measuring, where speed and buffers do not count."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.graphs import Graph, signature
from janus_edge.runtime.kv_cache import KVCache, planned_capacity
from janus_edge.runtime.language_model import PREFILL_CHUNK, LanguageModel
from janus_edge.runtime.pipeline import Janus

#: Rows of one call; pictures go one at a time. Both bound the scratch memory.
ROWS = 128
_PICTURES = (Graph.VISION_ENCODER, Graph.VQ_ENCODER, Graph.VQ_DECODER)


def graph_outputs(janus: Janus, graph: Graph, rows: NDArray[Any]) -> NDArray[Any]:
    """What ``graph`` makes of ``rows``, its first input along N, in the graph's own dtype.

    Floats are cast to the bundle's float type. ``language_model`` takes inputs_embeds [B, S, H] of
    rows of one length from position 0 on, and gives the hidden states [B, S, H] of every token;
    ``image_embedding`` gives one row a code, [N, 1, H]. Raises ValueError for ``guided_sampler``,
    whose inputs are not rows, CapacityError where S is beyond the model's positions, and
    BackendError.
    """
    if graph is Graph.GUIDED_SAMPLER:
        raise ValueError("guided_sampler has more inputs than rows of one kind")
    if rows.dtype.kind == "f":
        rows = rows.astype(janus.backend.float_dtype, copy=False)
    if graph is Graph.LANGUAGE_MODEL:
        return _hidden_states(janus, rows)
    ports, size = (
        signature(graph, janus.bundle.manifest.config),
        1 if graph in _PICTURES else ROWS,
    )
    given, made = ports.inputs[0], ports.outputs[0]
    dtype = np.dtype(np.int64) if made.dtype == "int64" else janus.backend.float_dtype
    copies = 2 if made.shape[0] == "2P" else 1  # both rows of a picture get the same embedding
    found = np.zeros((len(rows), *(int(d) for d in made.shape[1:])), dtype)
    for start in range(0, len(rows), size):
        piece = np.ascontiguousarray(rows[start : start + size])
        output = np.zeros((copies * len(piece), *found.shape[1:]), dtype)
        janus.backend.session(graph).bind({given.name: piece}, {made.name: output})()
        found[start : start + size] = output[: len(piece)]
    return found


def _hidden_states(janus: Janus, rows: NDArray[Any]) -> NDArray[Any]:
    """In chunks, as LanguageModel.prefill, but all hidden states are kept."""
    config, length = janus.bundle.manifest.config.language, rows.shape[1]
    capacity = planned_capacity(config, [length], 0)
    cache = KVCache.of(janus.backend, config, len(rows), capacity)
    model = LanguageModel(janus.backend.session(Graph.LANGUAGE_MODEL))
    hidden = np.zeros(rows.shape, janus.backend.float_dtype)
    for start in range(0, length, PREFILL_CHUNK):
        chunk = slice(start, min(start + PREFILL_CHUNK, length))
        step = model.plan(cache, chunk.stop - chunk.start)
        step.inputs_embeds[:] = rows[:, chunk]
        step.run()
        hidden[:, chunk] = step.hidden_states
        cache.lengths += chunk.stop - chunk.start
    return hidden
