"""Token after token of an answer, on the fake model."""

from __future__ import annotations

import numpy as np
import pytest

from janus_edge.errors import CapacityError
from janus_edge.graphs import Graph
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.text_decoding import answer_tokens
from janus_edge.runtime.text_sampler import make_text_sampler
from tests.unit.runtime.fakes import CONFIG, FakeBackend, embedding_table, hidden_of, logits

TABLE = embedding_table()
LM = CONFIG.language
NO_STOP = -1


def embeddings(ids: list[int]) -> np.ndarray:
    return TABLE[ids]


def answer(ids: list[int], cache: KVCache, backend: FakeBackend, new: int, stop: int = NO_STOP,
           sample=None):  # type: ignore[no-untyped-def] # fmt: skip
    sample = sample or make_text_sampler(0, 1, 0)
    return answer_tokens(
        CONFIG, backend, embeddings, cache, TABLE[ids], sample, stop=stop, max_new_tokens=new
    )  # type: ignore[arg-type]


def plain_tokens(ids: list[int], new: int) -> list[int]:
    """Greedy decoding of the whole row at every step, without a cache."""
    row = list(ids)
    for _ in range(new):
        row.append(int(logits(hidden_of(TABLE[row])[-1:], LM.vocab_size).argmax()))
    return row[len(ids) :]


def test_tokens_are_those_of_the_whole_row() -> None:
    """Decoding with the cache equals decoding without one; the last token is not in the cache."""
    cache = KVCache(LM, 1, 64, np.float32)
    tokens = list(answer([5, 9, 200], cache, FakeBackend(), 20))
    assert tokens == plain_tokens([5, 9, 200], 20)
    assert len(set(tokens)) > 10
    assert cache.lengths.tolist() == [3 + 19]


def test_an_answer_goes_on_from_the_cache() -> None:
    """A second answer behind the first equals one over the joined row."""
    cache, backend = KVCache(LM, 1, 64, np.float32), FakeBackend()
    said = list(answer([5, 9], cache, backend, 4))
    again = list(answer([said[-1], 7, 7], cache, backend, 5))
    assert again == plain_tokens([5, 9, *said, 7, 7], 5)


def test_stop_token_is_yielded_and_ends() -> None:
    """Decoding ends behind the stop token, which is yielded but not fed."""
    tokens = plain_tokens([5, 9, 200], 20)
    cache = KVCache(LM, 1, 64, np.float32)
    found = list(answer([5, 9, 200], cache, FakeBackend(), 20, stop=tokens[6]))
    assert found == tokens[: tokens.index(tokens[6]) + 1]
    assert cache.lengths.tolist() == [3 + len(found) - 1]


def test_the_sampler_sees_float32_and_the_position() -> None:
    """Whatever the backend's float type, the sampler gets float32 logits and the number of
    positions that precede the token."""
    seen = []

    def sample(row: np.ndarray, position: int, index: int) -> int:
        assert row.dtype == np.float32
        assert row.shape == (LM.vocab_size,)
        seen.append((position, index))
        return 3

    cache = KVCache(LM, 1, 64, np.float16)
    list(answer([5, 9, 200], cache, FakeBackend(np.float16), 4, sample=sample))
    assert seen == [(3, 0), (4, 0), (5, 0), (6, 0)]


def test_full_cache() -> None:
    """The token behind the last position is still drawn; feeding it is refused."""
    cache = KVCache(LM, 1, 5, np.float32)
    tokens = answer([5, 9, 200], cache, FakeBackend(), 10)
    assert [next(tokens) for _ in range(3)] == plain_tokens([5, 9, 200], 3)
    assert cache.lengths.tolist() == [5]
    with pytest.raises(CapacityError, match="the answer needs 1 more positions, .* 5 of 5"):
        next(tokens)


def test_nothing_is_bound_per_token() -> None:
    """Two bindings of the language model (prompt, step) and one of the head for any answer."""
    backend = FakeBackend()
    list(answer([5, 9, 200], KVCache(LM, 1, 64, np.float32), backend, 20))
    assert backend.session(Graph.LANGUAGE_MODEL).binds == 2
    assert backend.session(Graph.TEXT_HEAD).binds == 1
    assert backend.session(Graph.TEXT_HEAD).runs == 20
    assert backend.session(Graph.LANGUAGE_MODEL).runs == 20  # the prompt and 19 tokens
