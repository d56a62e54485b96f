"""The kernel that appends new keys and values to the cache: all layers and rows in one launch.

    target[i][b, h, lengths[b] + s, :] = source[i][b, h, s, :]      for i < tensors, s < new

``source[i]`` is [B, heads, new, D] and ``target[i]`` [B, heads, capacity, D]. Their addresses are in
a table in device memory, and so are the lengths: a captured launch stays valid while lengths change.
A row whose position is outside its target is skipped. A launch neither allocates nor waits.

A thread copies one unit of 4 bytes, or of 2 where D values are not a multiple of 4. Neighbouring
threads copy neighbouring units; the grid is [units of a tensor, tensors].

Drivers since CUDA 11.0 compile PTX 7.0 for sm_75, for GPUs from Turing on. It was assembled for
sm_87, sm_89 and sm_120 (`benchmarks/results/append-rows-ptxas.md`) and interpreted in tests; it has
not run on a GPU yet.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from janus_edge.runtime.cuda.device import Device, DeviceBuffer
from janus_edge.runtime.cuda.kernel import Kernel

_THREADS = 256

#: BYTES and BITS stand for the size of a unit.
_TEXT = """\
.version 7.0
.target sm_75
.address_size 64

.visible .entry append_rows(
    .param .u64 table,      // source, target, source, target, ...
    .param .u64 lengths,    // int64 [B]
    .param .u32 total,      // units of a source: B heads new units
    .param .u32 heads,
    .param .u32 new,
    .param .u32 capacity,
    .param .u32 units       // of a row of D values
)
{
    .reg .pred %p;
    .reg .bBITS %value;
    .reg .u32 %number, %x, %y, %width, %unit, %row, %count, %step, %head, %batch, %limit;
    .reg .s64 %position, %offset, %end;
    .reg .u64 %pointer, %wide, %source, %target;

    mov.u32         %x, %ctaid.x;
    mov.u32         %width, %ntid.x;
    mov.u32         %y, %tid.x;
    mad.lo.u32      %number, %x, %width, %y;
    ld.param.u32    %limit, [total];
    setp.ge.u32     %p, %number, %limit;
    @%p bra         DONE;

    // number = ((batch heads + head) new + step) units + unit
    ld.param.u32    %width, [units];
    rem.u32         %unit, %number, %width;
    div.u32         %row, %number, %width;
    ld.param.u32    %count, [new];
    rem.u32         %step, %row, %count;
    div.u32         %head, %row, %count;
    ld.param.u32    %count, [heads];
    div.u32         %batch, %head, %count;

    // position = lengths[batch] + step, which must be in the target
    ld.param.u64    %pointer, [lengths];
    cvta.to.global.u64 %pointer, %pointer;
    mul.wide.u32    %wide, %batch, 8;
    add.u64         %pointer, %pointer, %wide;
    ld.global.s64   %position, [%pointer];
    cvt.s64.u32     %offset, %step;
    add.s64         %position, %position, %offset;
    setp.lt.s64     %p, %position, 0;
    @%p bra         DONE;
    ld.param.u32    %limit, [capacity];
    cvt.s64.u32     %end, %limit;
    setp.ge.s64     %p, %position, %end;
    @%p bra         DONE;

    // the tensor's source and target
    ld.param.u64    %pointer, [table];
    cvta.to.global.u64 %pointer, %pointer;
    mov.u32         %y, %ctaid.y;
    mul.wide.u32    %wide, %y, 16;
    add.u64         %pointer, %pointer, %wide;
    ld.global.u64   %source, [%pointer];
    ld.global.u64   %target, [%pointer+8];
    cvta.to.global.u64 %source, %source;
    cvta.to.global.u64 %target, %target;

    // source + number, target + ((batch heads + head) capacity + position) units + unit
    mul.wide.u32    %wide, %number, BYTES;
    add.u64         %source, %source, %wide;
    mul.wide.u32    %pointer, %head, %limit;
    cvt.u64.s64     %wide, %position;
    add.u64         %pointer, %pointer, %wide;
    cvt.u64.u32     %wide, %width;
    mul.lo.u64      %pointer, %pointer, %wide;
    cvt.u64.u32     %wide, %unit;
    add.u64         %pointer, %pointer, %wide;
    mul.lo.u64      %pointer, %pointer, BYTES;
    add.u64         %target, %target, %pointer;
    ld.global.bBITS %value, [%source];
    st.global.bBITS [%target], %value;
DONE:
    ret;
}
"""


def ptx(unit: int) -> str:
    """Return the PTX module for units of ``unit`` bytes, 4 or 2."""
    return _TEXT.replace("BYTES", str(unit)).replace("BITS", str(8 * unit))


class RowAppender:
    """Kernel for rows of ``row_bytes``, compiled for the device; raises BackendError."""

    def __init__(self, device: Device, row_bytes: int) -> None:
        self._unit = 4 if row_bytes % 4 == 0 else 2
        if row_bytes < 1 or row_bytes % self._unit:
            raise ValueError(f"a row of {row_bytes} bytes is not a whole number of 16-bit units")
        self._device, self._units = device, row_bytes // self._unit
        self._kernel = Kernel(device, ptx(self._unit), "append_rows")

    def bound(
        self,
        sources: Sequence[DeviceBuffer],
        targets: Sequence[DeviceBuffer],
        lengths: DeviceBuffer,
        *,
        rows: int,
        heads: int,
        new: int,
        capacity: int,
    ) -> Append:
        """Prepare a launch that appends each of ``sources`` to its target; waits for the stream once."""
        pairs = [(s.address, t.address) for s, t in zip(sources, targets, strict=True)]
        table = np.array(pairs, np.uint64)
        memory = self._device.allocate(table.nbytes, "the addresses of keys and values")
        self._device.stream.upload(memory.address, table)
        self._device.stream.synchronize()  # `table` is freed on return
        total = rows * heads * new * self._units
        grid = (-(-total // _THREADS), len(pairs), 1)
        arguments: list[ctypes.c_uint64 | ctypes.c_uint32] = [
            ctypes.c_uint64(memory.address), ctypes.c_uint64(lengths.address),
            *(ctypes.c_uint32(n) for n in (total, heads, new, capacity, self._units)),
        ]  # fmt: skip
        held = (memory, lengths, *sources, *targets)
        return Append(self._kernel, grid, arguments, held)


class Append:
    """Launch with fixed addresses and shapes; calling it queues it. It keeps its memory alive."""

    def __init__(
        self,
        kernel: Kernel,
        grid: tuple[int, int, int],
        arguments: Sequence[ctypes.c_uint64 | ctypes.c_uint32],
        held: tuple[DeviceBuffer, ...],
    ) -> None:
        self._kernel, self._grid, self._arguments, self._held = kernel, grid, arguments, held

    def __call__(self) -> None:
        """Queue the launch."""
        self._kernel.launch(self._grid, (_THREADS, 1, 1), self._arguments)
