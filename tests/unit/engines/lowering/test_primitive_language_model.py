"""The lowered language model is the canonical one, on caches that are written in place."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.bundle import Bundle
from janus_edge.compare import difference
from janus_edge.config import LanguageConfig
from janus_edge.engines.lowering import (
    lower_opset,
    primitive_attention,
    primitive_norm,
    primitive_rotary,
    primitive_scatter,
)
from janus_edge.engines.lowering.passes import Pass, load, lower, save
from janus_edge.graphs import Graph
from janus_edge.runtime import language_model
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.session import OrtSession

MODULES = (primitive_norm, primitive_rotary, primitive_scatter, primitive_attention, lower_opset)
CAPACITY = 40
LENGTHS = (9, 2, 5)

#: The canonical graph, the lowered one, dimensions and float type.
Pair = tuple[LanguageModel, LanguageModel, LanguageConfig, str]


@pytest.fixture(scope="module", params=["tiny_bundle", "half_bundle"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Float32, and float16."""
    bundle = Bundle.open(request.getfixturevalue(request.param))
    path = tmp_path_factory.mktemp("lowered") / "language_model.onnx"
    model = load(bundle.graph(Graph.LANGUAGE_MODEL))
    outcomes = lower(model, [Pass(m.__name__, m.rewrite) for m in MODULES])
    assert all(not outcome.left for outcome in outcomes.values())
    save(model, path)
    sessions = [OrtSession(p, threads=1) for p in (bundle.graph(Graph.LANGUAGE_MODEL), path)]
    canonical, lowered = map(LanguageModel, sessions)
    manifest = bundle.manifest
    return canonical, lowered, manifest.config.language, manifest.recipe.float_type


def rows_of(config: LanguageConfig, float_type: str, *lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(sum(lengths))
    return [rng.normal(size=(n, config.hidden_size)).astype(float_type) for n in lengths]


def rubbish(config: LanguageConfig, float_type: str) -> KVCache:
    """A cache for three rows that is full of finite numbers, which no row may see."""
    cache = KVCache(config, len(LENGTHS), CAPACITY, np.dtype(float_type))
    for index, buffer in enumerate(cache.buffers):
        buffer[:] = 50 * np.random.default_rng(index).normal(size=buffer.shape)
    return cache


@pytest.mark.parametrize("chunk", [512, 3, 1])
def test_rows_of_different_lengths(pair: Pair, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefill whole, in chunks of 3 and one by one, then a step of one token and one of four: hidden
    states and all keys and values are the canonical graph's, past and present being one buffer."""
    canonical, lowered, config, float_type = pair
    monkeypatch.setattr(language_model, "PREFILL_CHUNK", chunk)
    hidden, caches = [], []
    for model in (canonical, lowered):
        cache = rubbish(config, float_type)
        found = [model.prefill(cache, rows_of(config, float_type, *LENGTHS))]
        for new in (1, 4):
            found.append(model.prefill(cache, rows_of(config, float_type, new, new, new)))
        hidden.append(np.stack(found))
        caches.append(cache)
    assert difference(hidden[1], hidden[0], float_type)
    assert caches[1].lengths.tolist() == caches[0].lengths.tolist() == [14, 7, 10]
    for buffer, wanted in zip(caches[1].buffers, caches[0].buffers, strict=True):
        for row, length in enumerate(caches[0].lengths):
            assert difference(buffer[row, :, :length], wanted[row, :, :length], float_type)


@pytest.mark.parametrize("new", [1, 4])
def test_a_step_writes_its_positions_and_no_others(pair: Pair, new: int) -> None:
    """In the bound buffers, the same memory, every other value is bit for bit what it was."""
    _, lowered, config, float_type = pair
    cache = rubbish(config, float_type)
    lowered.prefill(cache, rows_of(config, float_type, *LENGTHS))
    before = [buffer.copy() for buffer in cache.buffers]
    step = lowered.plan(cache, new)
    step.inputs_embeds[:] = np.stack(rows_of(config, float_type, new, new, new))
    step.run()
    for was, buffer in zip(before, cache.buffers, strict=True):
        changed = (was != buffer).any((1, 3))  # [B, C]
        for row, length in enumerate(LENGTHS):
            expected = (np.arange(CAPACITY) >= length) & (np.arange(CAPACITY) < length + new)
            np.testing.assert_array_equal(changed[row], expected)
