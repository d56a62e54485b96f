"""Keys or values of the KV cache on the device, where the language model updates them in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import CapacityError
from janus_edge.runtime.kv_cache import CacheArray
from janus_edge.runtime.ort_cuda.device_array import DeviceArray
from janus_edge.runtime.ort_cuda.provider import Provider


class DeviceCache:
    """What stands in the place of a :class:`CacheArray` [B, heads, C, D].

    Rows that were taken from another cache wait on the host until somebody says where on the device
    they go, since the cache that they are for may have more positions.
    """

    def __init__(self, provider: Provider, waiting: NDArray[Any]) -> None:
        self._provider = provider
        self._waiting: NDArray[Any] | None = waiting
        self._array: DeviceArray | None = None

    def take(self, rows: Sequence[int]) -> DeviceCache:
        """A new one whose row i is this one's row ``rows[i]``."""
        held = self._waiting if self._array is None else self._array.download()
        assert held is not None
        return DeviceCache(self._provider, held[np.asarray(rows, np.intp)])

    def on_device(self, shape: Sequence[int]) -> DeviceArray:
        """Its memory, of ``shape``; the first call copies the rows that wait there, before zeros."""
        if self._array is None:
            held = self._waiting
            assert held is not None
            if held.shape[2] > shape[2]:
                raise CapacityError(
                    f"{held.shape[2]} positions do not fit a cache of {shape[2]}; open the "
                    "conversation with a larger capacity"
                )
            # zeros: a weight of zero times rubbish that is not a number would be none either
            whole = np.zeros(shape, held.dtype)
            whole[:, :, : held.shape[2]] = held
            array = DeviceArray(self._provider, shape, held.dtype, "the KV cache")
            array.upload(whole)
            self._array, self._waiting = array, None
        return self._array


def cache_on_device(provider: Provider, array: CacheArray) -> DeviceCache:
    """The twin of ``array``, made of its content if it has none of this kind yet."""
    if not isinstance(array.twin, DeviceCache):
        array.twin = DeviceCache(provider, np.asarray(array))
    return array.twin
