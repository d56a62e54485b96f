"""Prefill and planned steps of the language model, on a fake that only exact bookkeeping fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_edge.errors import CapacityError
from janus_edge.graphs import Graph
from janus_edge.runtime import language_model
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from tests.unit.runtime.fakes import CONFIG, FakeBackend, hidden_of

LM = CONFIG.language


def rows_of(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 500, (n, LM.hidden_size)).astype(np.float32) for n in lengths]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 23), min_size=1, max_size=4),
    st.integers(1, 25),
    st.integers(0, 2**32 - 1),
)
def test_chunks_do_not_show(lengths: list[int], chunk: int, seed: int) -> None:
    """Prefill in chunks of any size gives each row, of whatever length, the last hidden state that
    its own tokens ask for, and lengths that let every row go on by itself."""
    backend, rows = FakeBackend(), rows_of(lengths, seed)
    cache = KVCache(LM, len(rows), max(lengths) + 3, np.float32)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language_model, "PREFILL_CHUNK", chunk)
        hidden = model.prefill(cache, rows)
    np.testing.assert_array_equal(hidden, [hidden_of(row)[-1] for row in rows])
    assert cache.lengths.tolist() == lengths
    assert backend.session(Graph.LANGUAGE_MODEL).runs == -(-max(lengths) // chunk)
    step, more = model.plan(cache, 1), rows_of([1] * len(rows), seed + 1)
    step.inputs_embeds[:] = np.stack(more)
    step.run()
    for index, (row, one) in enumerate(zip(rows, more, strict=True)):
        expected = hidden_of(np.concatenate([row, one]))[-1]
        np.testing.assert_array_equal(step.hidden_states[index, 0], expected)


def test_a_second_prefill_goes_on() -> None:
    """Prefill appends: two in a row equal one of the joined rows, also where a row was shorter."""
    first, second = rows_of([9, 2, 5]), rows_of([1, 7, 4], seed=1)
    cache = KVCache(LM, 3, 17, np.float32)
    model = LanguageModel(FakeBackend().session(Graph.LANGUAGE_MODEL))
    model.prefill(cache, first)
    hidden = model.prefill(cache, second)
    for row, (a, b) in enumerate(zip(first, second, strict=True)):
        np.testing.assert_array_equal(hidden[row], hidden_of(np.concatenate([a, b]))[-1])
    assert cache.lengths.tolist() == [10, 9, 9]


def test_prefill_refuses_what_does_not_fit() -> None:
    """A prompt that fills the cache is taken; one longer is refused, and the cache is unchanged."""
    model = LanguageModel(FakeBackend().session(Graph.LANGUAGE_MODEL))
    cache = KVCache(LM, 2, 8, np.float32)
    model.prefill(cache, rows_of([3, 5]))
    with pytest.raises(
        CapacityError, match=r"the prompt needs 4 more positions, the cache holds 5 of 8"
    ):
        model.prefill(cache, rows_of([1, 4]))
    assert cache.lengths.tolist() == [3, 5]
    model.prefill(cache, rows_of([1, 3]))
    assert cache.lengths.tolist() == [4, 8]


def test_plan_binds_one_cache_in_place() -> None:
    """A plan binds past and present to the cache's own buffers and reads its lengths at each run;
    running advances no lengths."""
    session = FakeBackend().session(Graph.LANGUAGE_MODEL)
    cache = KVCache(LM, 2, 8, np.float16)
    step = LanguageModel(session).plan(cache, 3)
    inputs, outputs = session.last
    for index, buffer in enumerate(cache.buffers):
        assert list(inputs.values())[2 + index] is buffer
        assert list(outputs.values())[2 + index] is buffer
    assert inputs["past_lengths"] is cache.lengths
    assert inputs["inputs_embeds"] is step.inputs_embeds
    assert outputs["hidden_states"] is step.hidden_states
    assert step.inputs_embeds.shape == step.hidden_states.shape == (2, 3, LM.hidden_size)
    assert step.inputs_embeds.dtype == step.hidden_states.dtype == np.float16
    step.run()
    step.run()
    assert cache.lengths.tolist() == [0, 0]
    assert session.binds == 1
