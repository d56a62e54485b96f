"""The stream: copies and kernels in order, events between them, and their capture in a CUDA graph."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from janus_edge.errors import BackendError

if TYPE_CHECKING:
    from janus_edge.runtime.cuda.device import Device

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: waits for nothing on the default stream
_DISABLE_TIMING = 2  # CU_EVENT_DISABLE_TIMING
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may do as they like


class Stream:
    """Work that the GPU does in order. Every call but :meth:`synchronize` only queues.

    Host memory must stay as it is, and alive, until the stream was waited for.
    """

    def __init__(self, device: Device) -> None:
        self._device, self._driver = device, device.driver
        self.capturing = False
        stream = ctypes.c_void_p()
        self._driver.call(
            "cuStreamCreate", ctypes.byref(stream), _NON_BLOCKING, doing="making a stream"
        )
        assert stream.value is not None
        self.handle = stream.value
        device.own(self, "cuStreamDestroy_v2", self.handle)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copy a contiguous array to the GPU."""
        if array.nbytes:
            self._driver.call(
                "cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self.handle,
                doing="copying to the GPU",
            )  # fmt: skip

    def download(self, array: NDArray[Any], address: int) -> None:
        """Fill a contiguous array from the GPU."""
        if array.nbytes:
            self._driver.call(
                "cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, self.handle,
                doing="copying from the GPU",
            )  # fmt: skip

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the GPU's memory, between places that do not overlap."""
        self._driver.call(
            "cuMemcpyDtoDAsync_v2", target, source, nbytes, self.handle,
            doing="copying within the GPU",
        )  # fmt: skip

    def zero(self, address: int, nbytes: int) -> None:
        """Fill with zero bytes."""
        self._driver.call(
            "cuMemsetD8Async", address, 0, nbytes, self.handle, doing="clearing the GPU's memory"
        )

    def synchronize(self) -> None:
        """Wait until all is done; raises BackendError for what went wrong in between."""
        self._driver.call("cuStreamSynchronize", self.handle, doing="waiting for the GPU")

    def event(self) -> Event:
        """An event of this stream, not recorded yet."""
        return Event(self._device, self)

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        """Record what ``work`` queues, without doing it.

        ``work`` must not allocate, free or wait. Raises BackendError that names the way without a
        CUDA graph; the stream can be used afterwards.
        """
        driver, graph = self._driver, ctypes.c_void_p()
        try:
            driver.call(
                "cuStreamBeginCapture_v2", self.handle, _THREAD_LOCAL, doing="beginning a capture"
            )
            self.capturing = True
            try:
                work()
            except BaseException:
                self._abandon()
                raise
            self.capturing = False
            driver.call(
                "cuStreamEndCapture", self.handle, ctypes.byref(graph), doing="ending a capture"
            )
            return self._instantiate(graph)
        except BackendError as failure:
            if driver.lost:
                raise
            raise BackendError(
                f"a step cannot be captured in a CUDA graph ({failure}); "
                "run without one: --no-cuda-graph"
            ) from failure

    def _abandon(self) -> None:
        """End a capture whose result is of no use; what it answers is the first error again."""
        self.capturing = False
        graph = ctypes.c_void_p()
        if self._driver.lost:
            return
        self._driver.status("cuStreamEndCapture", self.handle, ctypes.byref(graph))
        if graph.value:
            self._driver.status("cuGraphDestroy", graph)

    def _instantiate(self, graph: ctypes.c_void_p) -> CudaGraph:
        """What can be launched of a captured graph, which is destroyed."""
        driver, made = self._driver, ctypes.c_void_p()
        status = driver.status("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, 0)
        launched = CudaGraph(self._device, self, made.value) if made.value else None
        driver.call("cuGraphDestroy", graph, doing="ending a capture")
        driver.check(status, "cuGraphInstantiateWithFlags", "making a CUDA graph")
        assert launched is not None
        return launched


class Event:
    """A mark in a stream that can be waited for."""

    def __init__(self, device: Device, stream: Stream) -> None:
        self._driver, self._stream = device.driver, stream
        event = ctypes.c_void_p()
        self._driver.call(
            "cuEventCreate", ctypes.byref(event), _DISABLE_TIMING, doing="making an event"
        )
        assert event.value is not None
        self._handle = event.value
        device.own(self, "cuEventDestroy_v2", self._handle)

    def record(self) -> None:
        """Mark the place behind all that is queued now."""
        self._driver.call(
            "cuEventRecord", self._handle, self._stream.handle, doing="recording an event"
        )

    def synchronize(self) -> None:
        """Wait until the GPU has come to the mark; at once if it was never recorded."""
        self._driver.call("cuEventSynchronize", self._handle, doing="waiting for the GPU")


class CudaGraph:
    """Captured work: launched in one call, with the addresses and shapes of its capture."""

    def __init__(self, device: Device, stream: Stream, handle: int) -> None:
        self._driver, self._stream, self._handle = device.driver, stream, handle
        device.own(self, "cuGraphExecDestroy", handle)

    def launch(self) -> None:
        """Queue the work once more."""
        self._driver.call(
            "cuGraphLaunch", self._handle, self._stream.handle, doing="launching a CUDA graph"
        )
