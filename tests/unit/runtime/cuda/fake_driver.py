"""A CUDA driver without a GPU: the functions of `libcuda.so.1` on this machine's memory.

It does nothing before it must: queued work runs, in order, when the host waits, so a result that
is read too early is not there yet. Memory is full of 0xFF (not a number) until it is written. What
a driver would only punish by chance is an error at once: memory that was freed, copies beyond an
allocation, calls without a current context, calls that a capture forbids. A kernel is the loaded
PTX text, which `ptx.py` interprets.
"""

# ruff: noqa: N802 - the functions' own names
from __future__ import annotations

import ctypes
import itertools
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from janus_edge.runtime.cuda.functions import FUNCTIONS
from tests.unit.runtime.cuda import ptx

INVALID_VALUE, NO_MEMORY, INVALID_CONTEXT, INVALID_HANDLE = 1, 2, 201, 400
NO_BINARY, INVALID_PTX, NOT_FOUND = 209, 218, 500
ILLEGAL_ADDRESS, MISALIGNED, UNSUPPORTED_IN_CAPTURE, INVALIDATED = 700, 716, 900, 901

NAMES = {
    2: (b"CUDA_ERROR_OUT_OF_MEMORY", b"out of memory"),
    700: (b"CUDA_ERROR_ILLEGAL_ADDRESS", b"an illegal memory access was encountered"),
    901: (b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", b"operation failed due to a previous error"),
}

Operation = Callable[[], None]


class LostError(Exception):
    """Raised by an operation: the error that it leaves behind for good."""


class Stream:
    """What is queued, and what is captured while a capture is under way."""

    def __init__(self) -> None:
        self.queue: list[Operation] = []
        self.captured: list[Operation] | None = None
        self.invalid = False


class Kernel:
    """A function of a module; its first launch loads its code, so that launch must not be captured."""

    def __init__(self, module: int, entry: ptx.Entry) -> None:
        self.module, self.entry, self.loaded = module, entry, False


class Function:
    """One function: counts its calls, takes as many arguments as its C types say, fails on order."""

    def __init__(self, driver: FakeDriver, name: str) -> None:
        self._driver, self._name = driver, name
        self.argtypes: tuple[Any, ...] | None = None
        self.restype: Any = None

    def __call__(self, *arguments: Any) -> int:
        driver, name = self._driver, self._name
        if name in FUNCTIONS:
            assert len(arguments) == len(FUNCTIONS[name]), name
        driver.calls[name] += 1
        if not name.startswith("cuGetError"):
            if driver.lost:
                return driver.lost
            after, code = driver.failures.get(name, (0, 0))
            if code and driver.calls[name] > after:
                del driver.failures[name]
                if name == "cuStreamEndCapture":  # ends it whatever it answers
                    driver.streams[_plain(arguments[0])].captured = None
                return code
        plain = [_plain(argument) for argument in arguments]
        return int(getattr(driver, f"_{name}")(*plain) or 0)


def _plain(argument: Any) -> Any:
    """What is behind a reference, or the number of a handle."""
    if hasattr(argument, "_obj"):
        return argument._obj
    return argument.value if isinstance(argument, ctypes.c_void_p) else argument


class FakeDriver:
    """`libcuda.so.1` of a machine with ``count`` GPUs of ``total`` bytes.

    ``lacking`` are functions that it does not have. :meth:`fail` makes a later call fail.
    """

    def __init__(
        self,
        *,
        count: int = 1,
        capability: tuple[int, int] = (8, 9),
        total: int = 1 << 30,
        lacking: frozenset[str] = frozenset(),
        name: bytes = b"Fake GPU",
        integrated: bool = False,
    ) -> None:
        self.name = name
        self.calls: Counter[str] = Counter()
        self.failures: dict[str, tuple[int, int]] = {}
        self.lost = 0
        self.total, self._count = total, count
        self._attributes = {75: capability[0], 76: capability[1], 18: int(integrated)}
        self._lacking = lacking
        self._functions: dict[str, Function] = {}
        self._handles = itertools.count(0x5000_0000_1000, 0x10)  # beyond 32 bits
        self._context, self._retained = next(self._handles), 0
        self._thread = threading.local()
        self.memory: dict[int, tuple[Any, int]] = {}  # address -> the block around it, bytes
        self.pinned: dict[int, tuple[Any, int]] = {}
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, tuple[Stream, object] | None] = {}
        self.graphs: dict[int, list[Operation]] = {}
        self.executables: dict[int, list[Operation]] = {}
        self.modules: dict[int, ptx.Module] = {}
        self.kernels: dict[int, Kernel] = {}
        #: objects that live in the context and are not the driver's own: TensorRT's, by kind
        self.guests: Counter[str] = Counter()
        #: guests that were still alive when the context was released
        self.orphans: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Function:
        # what `cuda_driver` calls besides
        known = name in FUNCTIONS or name in (
            "cuDeviceGetCount", "cuDriverGetVersion", "cuDeviceGetPCIBusId",
        )  # fmt: skip
        if name.startswith("_") or not known or name in self._lacking:
            raise AttributeError(name)
        return self._functions.setdefault(name, Function(self, name))

    def fail(self, function: str, code: int, *, after: int = 0) -> None:
        """Let a call of ``function`` answer ``code``: the next, or the one behind ``after`` more."""
        self.failures[function] = (self.calls[function] + after, code)

    def live(self) -> dict[str, int]:
        """How much of everything is there that somebody must free."""
        kinds = {
            "memory": self.memory, "pinned": self.pinned, "streams": self.streams,
            "events": self.events, "graphs": self.graphs, "executables": self.executables,
            "modules": self.modules,
        }  # fmt: skip
        found = {name: len(kind) for name, kind in kinds.items()}
        return {n: count for n, count in {**found, "contexts": self._retained}.items() if count}

    # What the fake TensorRT needs of it

    def reserve(self, nbytes: int) -> int | None:
        """Memory that TensorRT takes for itself; None if there is none."""
        used = sum(size for _, size in self.memory.values())
        if used + nbytes > self.total:
            return None
        block = ctypes.create_string_buffer(b"\xff" * (nbytes + 256), nbytes + 256)
        address = -(-ctypes.addressof(block) // 256) * 256
        self.memory[address] = (block, nbytes)
        return address

    def admit(self, guest: object, kind: str) -> None:
        """Count an object among ``guests`` while it lives."""
        self.guests[kind] += 1
        weakref.finalize(guest, self.guests.subtract, [kind])

    def holds(self, address: int, nbytes: int) -> bool:
        """Whether all of it lies within one piece of the GPU's memory."""
        return any(a <= address and address + nbytes <= a + n for a, (_, n) in self.memory.items())

    # What the interpreter of kernels needs

    def load(self, addresses: Any, dtype: Any) -> Any:
        """Load one value per address."""
        found = np.zeros(len(addresses), dtype)
        for lanes, block, places in self._places(addresses, np.dtype(dtype)):
            found[lanes] = block[places]
        return found

    def store(self, addresses: Any, values: Any) -> None:
        """Store one value per address."""
        for lanes, block, places in self._places(addresses, values.dtype):
            block[places] = values[lanes]

    def _places(self, addresses: Any, dtype: Any) -> Any:
        """Return which of the addresses lie in each piece of memory, the piece, and the offsets in it."""
        width, outside = dtype.itemsize, np.ones(len(addresses), bool)
        if (addresses % width).any():
            raise LostError(MISALIGNED)
        for start, (_, nbytes) in [*self.memory.items()]:
            inside = (addresses >= start) & (addresses + width <= start + nbytes)
            if inside.any():
                outside &= ~inside
                block = (ctypes.c_ubyte * (nbytes // width * width)).from_address(start)
                places = (addresses[inside] - start) // width
                yield inside, np.frombuffer(memoryview(block), dtype), places
        if outside.any():
            raise LostError(ILLEGAL_ADDRESS)

    def enqueue(self, stream: int, operation: Operation) -> None:
        """Queue or capture an operation."""
        found = self.streams[stream]
        (found.queue if found.captured is None else found.captured).append(operation)

    def capturing(self, stream: int) -> bool:
        return self.streams[stream].captured is not None

    # The functions, with plain numbers in the place of C types

    def _forbidden(self) -> bool:
        """Whether a capture is under way, which the call then spoils."""
        spoiled = [s for s in self.streams.values() if s.captured is not None]
        for stream in spoiled:
            stream.invalid = True
        return bool(spoiled)

    def _usable(self) -> bool:
        return self._retained > 0 and getattr(self._thread, "current", 0) == self._context

    def _run(self, stream: Stream, until: object = None) -> int:
        while stream.queue:
            operation = stream.queue.pop(0)
            if operation is until:
                break
            try:
                operation()
            except LostError as failure:
                self.lost = int(failure.args[0])
                return self.lost
        return 0

    def _inside(self, *ranges: tuple[int, int]) -> None:
        if not all(self.holds(*one) for one in ranges):
            raise LostError(ILLEGAL_ADDRESS)

    def _cuInit(self, flags: int) -> int:
        return 0 if self._count else 100

    def _cuDeviceGetPCIBusId(self, address: Any, size: int, device: int) -> int:
        address.value = b"0000:01:00.0"[: size - 1]
        return 0

    def _cuDriverGetVersion(self, out: Any) -> None:
        out.value = 13000

    def _cuDeviceGetCount(self, out: Any) -> None:
        out.value = self._count

    def _cuGetErrorName(self, code: int, out: Any) -> int:
        out.value = NAMES[code][0] if code in NAMES else None
        return 0 if code in NAMES else INVALID_VALUE

    def _cuGetErrorString(self, code: int, out: Any) -> int:
        out.value = NAMES[code][1] if code in NAMES else None
        return 0 if code in NAMES else INVALID_VALUE

    def _cuDeviceGet(self, out: Any, ordinal: int) -> int:
        out.value = 7
        return 0 if ordinal < self._count else 101

    def _cuDeviceGetName(self, out: Any, size: int, device: int) -> int:
        out.value = self.name
        return 0

    def _cuDeviceGetAttribute(self, out: Any, attribute: int, device: int) -> None:
        out.value = self._attributes[attribute]

    def _cuDevicePrimaryCtxRetain(self, out: Any, device: int) -> None:
        out.value = self._context
        self._retained += 1

    def _cuDevicePrimaryCtxRelease_v2(self, device: int) -> None:
        self.orphans += self.guests
        self._retained -= 1

    def _cuCtxSetCurrent(self, context: int) -> int:
        self._thread.current = context
        return 0 if context == self._context else INVALID_CONTEXT

    def _cuMemGetInfo_v2(self, free: Any, total: Any) -> None:
        total.value = self.total
        free.value = self.total - sum(size for _, size in self.memory.values())

    def _cuMemAlloc_v2(self, out: Any, nbytes: int) -> int:
        if not self._usable():
            return INVALID_CONTEXT
        if self._forbidden():
            return UNSUPPORTED_IN_CAPTURE
        if nbytes == 0:
            return INVALID_VALUE
        address = self.reserve(nbytes)
        if address is None:
            return NO_MEMORY
        out.value = address
        return 0

    def _cuMemFree_v2(self, address: int) -> int:
        if self._forbidden():
            return UNSUPPORTED_IN_CAPTURE
        if not self._usable() or address not in self.memory:
            return INVALID_VALUE
        # queued work on it would run on memory that is gone: nothing waits for it here
        block, nbytes = self.memory.pop(address)
        ctypes.memset(address, 0xFF, nbytes)
        del block
        return 0

    def _cuMemAllocHost_v2(self, out: Any, nbytes: int) -> int:
        if not self._usable():
            return INVALID_CONTEXT
        if self._forbidden():
            return UNSUPPORTED_IN_CAPTURE
        block = ctypes.create_string_buffer(b"\xff" * nbytes, nbytes)
        out.value = ctypes.addressof(block)
        self.pinned[out.value] = (block, nbytes)
        return 0

    def _cuMemFreeHost(self, address: int) -> int:
        if self._forbidden():
            return UNSUPPORTED_IN_CAPTURE
        return 0 if self.pinned.pop(address, None) else INVALID_VALUE

    def _cuMemcpyHtoDAsync_v2(self, target: int, source: int, nbytes: int, stream: int) -> int:
        if not self._usable() or stream not in self.streams:
            return INVALID_HANDLE
        pinned = any(a <= source and source + nbytes <= a + n for a, (_, n) in self.pinned.items())
        # pageable memory is read before the call returns, pinned memory when its turn comes
        content = None if pinned else ctypes.string_at(source, nbytes)

        def copy() -> None:
            self._inside((target, nbytes))
            ctypes.memmove(target, source if content is None else content, nbytes)

        self.enqueue(stream, copy)
        return 0

    def _cuMemcpyDtoHAsync_v2(self, target: int, source: int, nbytes: int, stream: int) -> int:
        if not self._usable() or stream not in self.streams:
            return INVALID_HANDLE

        def copy() -> None:
            self._inside((source, nbytes))
            ctypes.memmove(target, source, nbytes)

        self.enqueue(stream, copy)
        return 0

    def _cuMemcpyDtoDAsync_v2(self, target: int, source: int, nbytes: int, stream: int) -> int:
        if not self._usable() or stream not in self.streams:
            return INVALID_HANDLE
        assert target + nbytes <= source or source + nbytes <= target, "overlapping copy"

        def copy() -> None:
            self._inside((target, nbytes), (source, nbytes))
            ctypes.memmove(target, source, nbytes)

        self.enqueue(stream, copy)
        return 0

    def _cuMemsetD8Async(self, target: int, value: int, nbytes: int, stream: int) -> int:
        if not self._usable() or stream not in self.streams:
            return INVALID_HANDLE

        def fill() -> None:
            self._inside((target, nbytes))
            ctypes.memset(target, value, nbytes)

        self.enqueue(stream, fill)
        return 0

    def _cuStreamCreate(self, out: Any, flags: int) -> int:
        if not self._usable():
            return INVALID_CONTEXT
        out.value = next(self._handles)
        self.streams[out.value] = Stream()
        return 0

    def _cuStreamSynchronize(self, stream: int) -> int:
        if not self._usable() or stream not in self.streams:
            return INVALID_HANDLE
        return UNSUPPORTED_IN_CAPTURE if self._forbidden() else self._run(self.streams[stream])

    def _cuStreamDestroy_v2(self, stream: int) -> int:
        return 0 if self.streams.pop(stream, None) else INVALID_HANDLE

    def _cuEventCreate(self, out: Any, flags: int) -> int:
        out.value = next(self._handles)
        self.events[out.value] = None
        return 0 if self._usable() else INVALID_CONTEXT

    def _cuEventRecord(self, event: int, stream: int) -> int:
        if event not in self.events or stream not in self.streams:
            return INVALID_HANDLE

        def mark() -> None:
            pass

        self.enqueue(stream, mark)
        self.events[event] = (self.streams[stream], mark)
        return 0

    def _cuEventSynchronize(self, event: int) -> int:
        if event not in self.events:
            return INVALID_HANDLE
        if self._forbidden():
            return UNSUPPORTED_IN_CAPTURE
        stream, mark = self.events[event] or (Stream(), None)
        return self._run(stream, mark) if mark in stream.queue else 0

    def _cuEventDestroy_v2(self, event: int) -> int:
        return INVALID_HANDLE if self.events.pop(event, 0) == 0 else 0

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:
        assert mode == 1, "other threads must be free to call the driver"
        found = self.streams[stream]
        found.captured, found.invalid = [], False
        return 0

    def _cuStreamEndCapture(self, stream: int, out: Any) -> int:
        found = self.streams[stream]
        if found.captured is None:
            return INVALID_VALUE
        captured, found.captured = found.captured, None
        if found.invalid:
            return INVALIDATED
        out.value = next(self._handles)
        self.graphs[out.value] = captured
        return 0

    def _cuGraphInstantiateWithFlags(self, out: Any, graph: int, flags: int) -> None:
        out.value = next(self._handles)
        self.executables[out.value] = self.graphs[graph]

    def _cuGraphLaunch(self, executable: int, stream: int) -> int:
        if executable not in self.executables or not self._usable():
            return INVALID_HANDLE
        self.streams[stream].queue += self.executables[executable]
        return 0

    def _cuGraphExecDestroy(self, executable: int) -> int:
        return INVALID_HANDLE if self.executables.pop(executable, None) is None else 0

    def _cuGraphDestroy(self, graph: int) -> int:
        return INVALID_HANDLE if self.graphs.pop(graph, None) is None else 0

    def _cuModuleLoadData(self, out: Any, image: Any) -> int:
        if not self._usable():
            return INVALID_CONTEXT
        if self._forbidden():
            return UNSUPPORTED_IN_CAPTURE
        try:
            module = ptx.parse(image.value.decode("ascii"))
        except ptx.PtxError:
            return INVALID_PTX
        if module.target > 10 * self._attributes[75] + self._attributes[76]:
            return NO_BINARY
        out.value = next(self._handles)
        self.modules[out.value] = module
        return 0

    def _cuModuleGetFunction(self, out: Any, module: int, name: bytes) -> int:
        entry = self.modules[module].entries.get(name.decode("ascii"))
        if entry is None:
            return NOT_FOUND
        out.value = next(self._handles)
        self.kernels[out.value] = Kernel(module, entry)
        return 0

    def _cuModuleUnload(self, module: int) -> int:
        if self._forbidden():
            return UNSUPPORTED_IN_CAPTURE
        self.kernels = {h: k for h, k in self.kernels.items() if k.module != module}
        return 0 if self.modules.pop(module, None) else INVALID_HANDLE

    def _cuLaunchKernel(
        self, function: int, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int,
        stream: int, arguments: Any, extra: None,
    ) -> int:  # fmt: skip
        kernel = self.kernels.get(function)
        if kernel is None or stream not in self.streams or not self._usable():
            return INVALID_HANDLE
        grid, block = (gx, gy, gz), (bx, by, bz)
        if min(*grid, *block) < 1 or max(gy, gz) > 65535 or bx * by * bz > 1024:
            return INVALID_VALUE
        if self.capturing(stream) and not kernel.loaded:
            self._forbidden()
            return UNSUPPORTED_IN_CAPTURE
        kernel.loaded = True
        parameters = kernel.entry.parameters
        assert len(arguments) == len(parameters)
        given = {}  # copied now: the caller may free its memory
        for (name, kind), pointer in zip(parameters.items(), arguments, strict=True):
            dtype = ptx.TYPES[kind]
            given[name] = int(np.frombuffer(ctypes.string_at(pointer, dtype.itemsize), dtype)[0])

        def run() -> None:
            ptx.Launch(kernel.entry, grid, block, given, self).run()

        self.enqueue(stream, run)
        return 0
