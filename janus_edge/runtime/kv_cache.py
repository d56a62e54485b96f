"""The KV cache: one buffer per layer for keys and one for values, written in place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike

from janus_edge.config import LanguageConfig
from janus_edge.errors import CapacityError
from janus_edge.graphs import cache_names

if TYPE_CHECKING:
    from typing import Self

    from janus_edge.runtime.session import Backend

#: Capacities are multiples of this, so that close lengths give equal shapes.
BLOCK = 64


class Twin(Protocol):
    """What holds an array's content on a device in its place."""

    def take(self, rows: Sequence[int]) -> Twin:
        """A new one whose row i is this one's row ``rows[i]``."""
        ...


class CacheArray(np.ndarray[Any, np.dtype[Any]]):
    """Keys or values. A backend with memory of its own may keep them there, as ``twin``.

    The array then only stands for them: it has their shape, and nothing is written into it.
    """

    twin: Twin | None = None


@runtime_checkable
class HasCacheType(Protocol):
    """A backend whose graphs keep keys and values in a type of their own, ``cache_dtype``."""

    cache_dtype: np.dtype[Any]


def cache_dtype(backend: Backend) -> np.dtype[Any]:
    """The type of the keys and values of ``backend``: its float type unless it says otherwise."""
    return backend.cache_dtype if isinstance(backend, HasCacheType) else backend.float_dtype


class KVCache:
    """Keys and values of B rows, [B, kv_heads, C, D] each, and how far each row is filled.

    ``lengths`` [B] int64 is read by the graph as ``past_lengths`` and advanced by the caller;
    what lies behind a row's length is never attended. ``float_dtype`` is what the graph computes
    in, which ``dtype`` (that of keys and values) is as well unless they are integers.
    """

    def __init__(
        self,
        config: LanguageConfig,
        rows: int,
        capacity: int,
        dtype: DTypeLike,
        float_dtype: DTypeLike | None = None,
    ) -> None:
        self.config = config
        self.capacity = capacity
        self.float_dtype = np.dtype(dtype if float_dtype is None else float_dtype)
        shape = (rows, config.kv_heads, capacity, config.head_dim)
        # zeros: the system hands such pages out only when they are first written
        self.buffers: list[CacheArray] = [
            np.zeros(shape, dtype).view(CacheArray) for _ in range(2 * config.layers)
        ]
        self.lengths = np.zeros(rows, np.int64)

    @classmethod
    def of(cls, backend: Backend, config: LanguageConfig, rows: int, capacity: int) -> Self:
        """An empty cache in the types that the graphs of ``backend`` take."""
        return cls(config, rows, capacity, cache_dtype(backend), backend.float_dtype)

    @property
    def rows(self) -> int:
        """B."""
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values at full length."""
        return sum(b.nbytes for b in self.buffers)

    def named(self, stem: str) -> dict[str, CacheArray]:
        """The buffers by the graph's names: ``past`` for its inputs, ``present`` for its outputs."""
        return dict(zip(cache_names(stem, self.config.layers), self.buffers, strict=True))

    def check_room(self, new: int, *, what: str) -> None:
        """Raise CapacityError unless every row has room for ``new`` more positions."""
        held = int(self.lengths.max(initial=0))
        if held + new > self.capacity:
            raise CapacityError(
                f"{what} needs {new} more positions, the cache holds {held} of {self.capacity}; "
                "shorten it, start a new conversation, or open one with a larger capacity"
            )

    def fan_out(self, rows: Sequence[int], capacity: int) -> KVCache:
        """A new cache whose row i is this cache's row ``rows[i]``."""
        longest = int(self.lengths.max(initial=0))
        copy = KVCache(self.config, len(rows), capacity, self.buffers[0].dtype, self.float_dtype)
        index = np.asarray(rows, np.intp)
        for source, target in zip(self.buffers, copy.buffers, strict=True):
            if source.twin is None:
                target[:, :, :longest] = source[index, :, :longest]
            else:
                target.twin = source.twin.take(rows)
        copy.lengths[:] = self.lengths[index]
        return copy


def cache_bytes(config: LanguageConfig, rows: int, capacity: int, itemsize: int) -> int:
    """Bytes of a cache that is not made yet."""
    return 2 * config.layers * rows * config.kv_heads * capacity * config.head_dim * itemsize


def planned_capacity(config: LanguageConfig, lengths: Iterable[int], new: int) -> int:
    """Capacity for the longest of ``lengths`` and ``new`` positions behind it, in whole blocks.

    Raises CapacityError beyond the positions that the model knows.
    """
    longest = max(lengths)
    needed = longest + new
    if needed > config.max_positions:
        raise CapacityError(
            f"{longest} prompt tokens and {new} new ones need {needed} positions, the model has "
            f"{config.max_positions}; shorten the prompt or ask for fewer tokens"
        )
    return min(-(-needed // BLOCK) * BLOCK, config.max_positions)
