"""One GPU, opened: its primary context, its memory, one stream, and what is to be freed of it.

Objects hold what they own of the driver until nobody holds them. Their end only notes that it may be
freed: it may come at any time, in any thread, even while a stream is captured, when the driver must
not be called. The device frees what was noted before it allocates anew, and the rest when closed.
"""

from __future__ import annotations

import ctypes
import itertools
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from janus_edge.errors import BackendError
from janus_edge.runtime.cuda.driver import OUT_OF_MEMORY, Driver
from janus_edge.runtime.cuda.functions import load_library
from janus_edge.runtime.cuda.host_memory import available_memory
from janus_edge.runtime.cuda.stream import Stream

#: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR, and CU_DEVICE_ATTRIBUTE_INTEGRATED.
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18


class DeviceBuffer:
    """``nbytes`` of the GPU's memory at ``address``, 256-byte aligned; freed with its last holder."""

    __slots__ = ("__weakref__", "address", "nbytes")

    def __init__(self, address: int, nbytes: int) -> None:
        self.address, self.nbytes = address, nbytes


class Device:
    """A GPU: the first one that the driver shows (CUDA_VISIBLE_DEVICES chooses).

    It uses the primary context, which TensorRT uses too. Whatever thread calls, it must call
    :meth:`make_current` first. Raises BackendError where there is no GPU or it cannot be opened.
    """

    def __init__(self, library: Any = None) -> None:
        self.driver = Driver(load_library() if library is None else library)
        self._live: dict[int, tuple[str, int]] = {}  # in the order in which they were made
        self._unheld: deque[int] = deque()
        self._tokens = itertools.count()
        self._closed = False
        call, number = self.driver.call, ctypes.c_int()
        call("cuInit", 0, doing="starting the driver")
        call("cuDeviceGet", ctypes.byref(number), 0, doing="looking for a GPU")
        self._number = number.value
        self.name = self._name()
        self.compute_capability = f"{self._attribute(_MAJOR)}.{self._attribute(_MINOR)}"
        #: Whether the GPU's memory is the host's (Jetson).
        self.integrated = self._attribute(_INTEGRATED) != 0
        context = ctypes.c_void_p()
        call(
            "cuDevicePrimaryCtxRetain", ctypes.byref(context), self._number,
            doing=f"opening the {self.name}",
        )  # fmt: skip
        self._context = context.value
        try:
            self.make_current()
            self._free_at_first, _ = self.memory()
            self._least_free = self._free_at_first
            self.stream = Stream(self)
        except BackendError:
            self.close()
            raise

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def make_current(self) -> None:
        """Let the calling thread use the GPU; raises BackendError once it is closed."""
        if self._closed:
            raise BackendError("the GPU was closed; open the engine again")
        self.driver.call("cuCtxSetCurrent", self._context, doing="choosing the GPU")

    def memory(self) -> tuple[int, int]:
        """Return free and total bytes of the GPU's memory.

        The driver of an integrated GPU counts the page cache as used, although Linux frees it when
        memory is allocated. So free memory is read from Linux there.
        """
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.driver.call(
            "cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total), doing="asking for memory"
        )
        available = available_memory() if self.integrated else None
        return (free.value if available is None else min(available, total.value)), total.value

    def note_memory(self) -> None:
        """Look at what is free, for :attr:`peak`; :meth:`allocate` does so by itself."""
        free, _ = self.memory()
        self._least_free = min(self._least_free, free)

    @property
    def peak(self) -> int:
        """Bytes of the GPU's memory that were taken at most since it was opened, as far as noted.

        By whomever: the driver tells of the whole GPU. What opening itself takes is not counted.
        """
        return self._free_at_first - self._least_free

    def allocate(self, nbytes: int, what: str) -> DeviceBuffer:
        """``nbytes`` of memory for ``what``, not initialised; raises BackendError if there is none."""
        self.collect()
        address, nbytes = ctypes.c_uint64(), max(nbytes, 1)
        doing = f"allocating {nbytes / 2**20:,.1f} MiB for {what}"
        status = self.driver.status("cuMemAlloc_v2", ctypes.byref(address), nbytes)
        if status == OUT_OF_MEMORY:
            free, total = self.memory()
            doing += f" ({free / 2**20:,.0f} of {total / 2**20:,.0f} MiB are free)"
        self.driver.check(status, "cuMemAlloc_v2", doing)
        buffer = DeviceBuffer(address.value, nbytes)
        self.own(buffer, "cuMemFree_v2", buffer.address)
        self.note_memory()
        return buffer

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array in memory that the GPU copies from and to by itself; not initialised."""
        self.collect()
        kind, pointer = np.dtype(dtype), ctypes.c_void_p()
        nbytes = max(kind.itemsize * int(np.prod(shape)), 1)
        self.driver.call(
            "cuMemAllocHost_v2", ctypes.byref(pointer), nbytes,
            doing=f"allocating {nbytes / 2**20:,.1f} MiB of pinned memory",
        )  # fmt: skip
        assert pointer.value is not None
        memory = (ctypes.c_ubyte * nbytes).from_address(pointer.value)
        self.own(memory, "cuMemFreeHost", pointer.value)
        found: NDArray[Any] = np.frombuffer(memoryview(memory), np.uint8)  # which keeps it
        return found[: kind.itemsize * int(np.prod(shape))].view(kind).reshape(shape)

    def own(self, holder: object, free: str, handle: int) -> None:
        """Call the driver's function ``free`` on ``handle`` once ``holder`` is gone."""
        token = next(self._tokens)
        self._live[token] = (free, handle)
        weakref.finalize(holder, self._unheld.append, token).atexit = False

    def collect(self) -> None:
        """Free what nobody holds any more, when the GPU has done with it."""
        if not self._unheld or self.stream.capturing:
            return
        self.stream.synchronize()
        while self._unheld:
            function, handle = self._live.pop(self._unheld.popleft())
            self.driver.call(function, handle, doing="freeing what is not used any more")

    def close(self) -> None:
        """Free everything; raises BackendError if that fails. Later calls do nothing.

        Nothing can be freed behind an error that only the end of the process mends.
        """
        if self._closed:
            return
        self._closed = True
        if self.driver.lost:
            return
        steps = [("cuCtxSetCurrent", self._context)]
        if stream := getattr(self, "stream", None):  # else it could not be made
            steps.append(("cuStreamSynchronize", stream.handle))
        # the newest first, the stream last
        steps += [*reversed(self._live.values()), ("cuDevicePrimaryCtxRelease_v2", self._number)]
        self._live.clear()
        answers = [(self.driver.status(*step), step[0]) for step in steps]
        for status, function in answers:
            self.driver.check(status, function, "closing the GPU")

    def _name(self) -> str:
        text = ctypes.create_string_buffer(256)
        self.driver.call(
            "cuDeviceGetName", text, len(text), self._number, doing="asking for the GPU's name"
        )
        return text.value.decode("utf-8", "replace")

    def _attribute(self, attribute: int) -> int:
        value = ctypes.c_int()
        self.driver.call(
            "cuDeviceGetAttribute", ctypes.byref(value), attribute, self._number,
            doing="asking for an attribute of the GPU",
        )  # fmt: skip
        return value.value
