"""The cache through ONNX Runtime: updated in place, at the right positions, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from janus_edge.compare import difference
from janus_edge.graphs import Graph
from janus_edge.runtime import language_model
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.pipeline import Janus


@pytest.fixture(scope="module")
def janus(tiny_bundle: Path) -> Iterator[Janus]:
    with Janus.load(tiny_bundle, threads=1) as opened:
        yield opened


@pytest.fixture
def model(janus: Janus) -> LanguageModel:
    return LanguageModel(janus.backend.session(Graph.LANGUAGE_MODEL))


def make_cache(janus: Janus, rows: int, capacity: int = 40) -> KVCache:
    return KVCache(janus.bundle.manifest.config.language, rows, capacity, np.float32)


def rows_of(janus: Janus, *lengths: int) -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [janus.text_embeddings(generator.integers(0, 512, n)) for n in lengths]


@pytest.mark.parametrize("new", [1, 4])
def test_a_step_writes_its_positions_and_no_others(
    janus: Janus, model: LanguageModel, new: int
) -> None:
    """After a step every bound buffer holds new values at each row's own next positions, and each
    other value, before and behind, is bit for bit what it was; the buffers are the same memory."""
    cache = make_cache(janus, 3)
    for index, buffer in enumerate(cache.buffers):  # rubbish behind the rows must stay as well
        buffer[:] = np.random.default_rng(index).normal(size=buffer.shape)
    model.prefill(cache, rows_of(janus, 9, 2, 5))
    before = [buffer.copy() for buffer in cache.buffers]
    addresses = [buffer.ctypes.data for buffer in cache.buffers]
    step = model.plan(cache, new)
    step.inputs_embeds[:] = np.stack(rows_of(janus, new, new, new))
    step.run()
    assert [buffer.ctypes.data for buffer in cache.buffers] == addresses
    for was, buffer in zip(before, cache.buffers, strict=True):
        changed = (was != buffer).any((1, 3))  # [B, C]
        for row, length in enumerate((9, 2, 5)):
            expected = (np.arange(40) >= length) & (np.arange(40) < length + new)
            np.testing.assert_array_equal(changed[row], expected)


def test_rubbish_behind_a_row_does_not_matter(janus: Janus, model: LanguageModel) -> None:
    """What lies behind a row's length, be it enormous, never reaches its hidden states."""
    rows, results = rows_of(janus, 9, 2, 5), []
    for rubbish in (0.0, 1e6):
        cache = make_cache(janus, 3)
        for buffer in cache.buffers:
            buffer[:] = rubbish
        hidden = [model.prefill(cache, rows)]
        hidden.append(model.prefill(cache, rows_of(janus, 1, 1, 1)))
        results.append(np.concatenate(hidden))
    np.testing.assert_array_equal(results[0], results[1])


def test_chunks_and_single_tokens_agree(
    janus: Janus, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of unequal length run whole, in chunks of 7, 3 and 1, and each alone: hidden states and
    all keys and values agree within float32 rounding."""
    rows = rows_of(janus, 23, 4, 11)
    whole = make_cache(janus, 3)
    expected = model.prefill(whole, rows)
    for chunk in (7, 3, 1):
        monkeypatch.setattr(language_model, "PREFILL_CHUNK", chunk)
        cache = make_cache(janus, 3)
        assert difference(model.prefill(cache, rows), expected, "float32")
        for found, wanted in zip(cache.buffers, whole.buffers, strict=True):
            for row, length in enumerate((23, 4, 11)):
                assert difference(found[row, :, :length], wanted[row, :, :length], "float32")
    for row, embeds in enumerate(rows):
        alone = model.prefill(make_cache(janus, 1), [embeds])
        assert difference(alone[0], expected[row], "float32")
    assert not difference(expected[0], expected[1], "float32")


def test_order_and_position_count(janus: Janus, model: LanguageModel) -> None:
    """Exchanging two tokens changes the last hidden state: the graph knows positions."""
    (row,) = rows_of(janus, 12)
    exchanged = row.copy()
    exchanged[[2, 7]] = exchanged[[7, 2]]
    hidden = model.prefill(make_cache(janus, 2), [row, exchanged])
    assert not difference(hidden[0], hidden[1], "float32")


def test_every_position_of_the_model(janus: Janus, model: LanguageModel) -> None:
    """The last position that the model knows can be used: prefill up to it, then one token at it,
    equals the prefill of all."""
    positions = janus.bundle.manifest.config.language.max_positions
    (row,) = rows_of(janus, positions)
    whole = model.prefill(make_cache(janus, 1, positions), [row])
    cache = make_cache(janus, 1, positions)
    model.prefill(cache, [row[:-1]])
    assert difference(model.prefill(cache, [row[-1:]]), whole, "float32")
    assert cache.lengths.tolist() == [positions]
