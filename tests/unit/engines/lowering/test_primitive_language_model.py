"""The lowered language model, with its new rows appended to the cache, equals the canonical one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from janus_edge.bundle import Bundle
from janus_edge.compare import difference
from janus_edge.config import LanguageConfig
from janus_edge.engines.lowering.passes import load, lower, save
from janus_edge.engines.tensorrt_10_3 import PASSES
from janus_edge.graphs import Graph, cache_names
from janus_edge.runtime import language_model
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.session import Call, OrtSession

CAPACITY = 40
LENGTHS = (9, 2, 5)

#: The canonical graph, the lowered one, dimensions and float type.
Pair = tuple[LanguageModel, LanguageModel, LanguageConfig, str]


@dataclass
class Appended:
    """The lowered graph as a session of the canonical one; numpy appends the rows."""

    session: OrtSession
    config: LanguageConfig

    def bind(self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> Call:
        rows, new, _ = inputs["inputs_embeds"].shape
        shape = (rows, self.config.kv_heads, new, self.config.head_dim)
        dtype, layers = inputs["inputs_embeds"].dtype, self.config.layers
        made = {name: np.zeros(shape, dtype) for name in cache_names("new", layers)}
        kept = {name: outputs[name] for name in ("hidden_states", "lengths")}
        run = self.session.bind(inputs, {**kept, **made})

        def call() -> None:
            before = [inputs[name].copy() for name in cache_names("past", layers)]
            run()
            names = (cache_names(stem, layers) for stem in ("past", "new"))
            for past, name, was in zip(*names, before, strict=True):
                np.testing.assert_array_equal(inputs[past], was)  # the graph does not change it
                for row, start in enumerate(inputs["past_lengths"].tolist()):
                    inputs[past][row, :, start : start + new] = made[name][row]

        return call


@pytest.fixture(scope="module", params=["tiny_bundle", "half_bundle"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Float32, and float16."""
    return made_of(request.getfixturevalue(request.param), tmp_path_factory.mktemp("lowered"))


def made_of(folder: Path, out: Path) -> Pair:
    bundle, path = Bundle.open(folder), out / "language_model.onnx"
    model = load(bundle.graph(Graph.LANGUAGE_MODEL))
    outcomes = lower(model, PASSES[Graph.LANGUAGE_MODEL])
    assert all(not outcome.left for outcome in outcomes.values())
    save(model, path)
    config = bundle.manifest.config.language
    canonical = OrtSession(bundle.graph(Graph.LANGUAGE_MODEL), threads=1)
    lowered = Appended(OrtSession(path, threads=1), config)
    return (
        LanguageModel(canonical), LanguageModel(lowered), config, bundle.manifest.recipe.float_type,
    )  # fmt: skip


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
    """A prefill (whole, in chunks of 3, token by token), a step of one token and a window of four give
    the canonical graph's hidden states, keys and values."""
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
def test_every_token_of_a_window(pair: Pair, new: int) -> None:
    """All hidden states of ragged rows agree, even at the very end of the cache."""
    canonical, lowered, config, float_type = pair
    found = []
    for model in (canonical, lowered):
        cache = rubbish(config, float_type)
        model.prefill(cache, rows_of(config, float_type, CAPACITY - new, 2, 5))
        step = model.plan(cache, new)
        step.inputs_embeds[:] = np.stack(rows_of(config, float_type, new, new, new))
        step.run()
        found.append(step.hidden_states)
    assert difference(found[1], found[0], float_type)
