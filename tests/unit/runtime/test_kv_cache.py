"""The KV cache: its size, its room, its copies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_edge.config import LanguageConfig
from janus_edge.errors import CapacityError
from janus_edge.runtime.kv_cache import BLOCK, KVCache, cache_bytes, planned_capacity
from tests.unit.runtime.fakes import FakeBackend

LM = LanguageConfig(12, 3, 6, 2, 8, vocab_size=10, max_positions=1000)


def filled(rows: int = 3, capacity: int = 10) -> KVCache:
    """A cache in which every value of every buffer is another one."""
    cache = KVCache(LM, rows, capacity, np.float32)
    for index, buffer in enumerate(cache.buffers):
        buffer[:] = np.arange(buffer.size).reshape(buffer.shape) + index * buffer.size
    return cache


def test_shapes_and_names() -> None:
    """Key and value of every layer are [B, kv_heads, C, D]; past and present name one memory."""
    cache = KVCache(LM, 4, 64, np.float16)
    past, present = cache.named("past"), cache.named("present")
    assert list(past) == [f"past_{kind}.{i}" for i in range(3) for kind in ("key", "value")]
    assert list(present) == [name.replace("past", "present") for name in past]
    assert all(a is b for a, b in zip(past.values(), present.values(), strict=True))
    assert {a.shape for a in past.values()} == {(4, 2, 64, 2)}
    assert {a.dtype for a in past.values()} == {np.dtype(np.float16)}
    assert len({id(a) for a in past.values()}) == 6
    assert cache.rows == 4
    assert cache.lengths.tolist() == [0, 0, 0, 0]
    assert cache.nbytes == cache_bytes(LM, 4, 64, 2) == 6 * 4 * 2 * 64 * 2 * 2


def test_a_cache_for_a_backend() -> None:
    """Keys and values in the backend's cache type, which is its float type unless it has another;
    copies keep both."""
    floats = FakeBackend(np.float16)
    cache = KVCache.of(floats, LM, 2, 64)
    assert {b.dtype for b in cache.buffers} == {cache.float_dtype} == {np.dtype(np.float16)}
    integers = FakeBackend(np.float32)
    integers.cache_dtype = np.dtype(np.int8)  # type: ignore[attr-defined]
    for cache in (made := KVCache.of(integers, LM, 2, 64), made.fan_out([1, 1, 0], 128)):
        assert {b.dtype for b in cache.buffers} == {np.dtype(np.int8)}
        assert cache.float_dtype == np.float32
    assert made.nbytes == cache_bytes(LM, 2, 64, 1)


def test_room_is_that_of_the_longest_row() -> None:
    """The last free position may be used; one more is refused with all three numbers."""
    cache = KVCache(LM, 2, 10, np.float32)
    cache.lengths[:] = 3, 7
    cache.check_room(3, what="the question")
    with pytest.raises(
        CapacityError, match=r"the question needs 4 more positions, the cache holds 7 of 10; \w+"
    ):
        cache.check_room(4, what="the question")


@given(st.lists(st.integers(0, 2), min_size=1, max_size=8), st.integers(0, 5))
def test_fan_out_copies_rows(rows: list[int], more: int) -> None:
    """Row i of the copy is row ``rows[i]`` up to its length, in memory of its own."""
    cache = filled()
    cache.lengths[:] = 4, 10, 1
    copy = cache.fan_out(rows, 10 + more)
    assert copy.capacity == 10 + more
    assert copy.lengths.tolist() == [cache.lengths[r] for r in rows]
    for source, target in zip(cache.buffers, copy.buffers, strict=True):
        assert target.dtype == source.dtype
        assert target.shape == (len(rows), 2, 10 + more, 2)
        assert not np.shares_memory(source, target)
        for i, r in enumerate(rows):
            length = int(cache.lengths[r])
            np.testing.assert_array_equal(target[i, :, :length], source[r, :, :length])
    copy.lengths += 1
    assert cache.lengths.tolist() == [4, 10, 1]


@given(st.lists(st.integers(1, 600), min_size=1, max_size=4), st.integers(0, 400))
def test_planned_capacity(lengths: list[int], new: int) -> None:
    """The fewest whole blocks that hold the longest row and the new tokens, never more positions
    than the model has."""
    capacity = planned_capacity(LM, iter(lengths), new)
    needed = max(lengths) + new
    assert needed <= capacity <= LM.max_positions
    assert capacity - needed < BLOCK
    assert capacity % BLOCK == 0 or capacity == LM.max_positions


def test_planned_capacity_beyond_the_model() -> None:
    """All positions of the model may be used; one more is refused with the numbers."""
    assert planned_capacity(LM, [400], 600) == 1000
    with pytest.raises(CapacityError, match=r"401 prompt tokens and 600 new .* 1001 .* has 1000;"):
        planned_capacity(LM, [5, 401], 600)
