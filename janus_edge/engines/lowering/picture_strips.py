"""Pictures with channels last, as strips one below the other: what `channels_last.py` computes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import check
from janus_edge.engines.lowering.primitives import Writer

#: Positions of a strip at most: 128 channels of them are 12 MiB in float32. Measured on the 1B's VQ
#: decoder: 3072 to 24576 take 0.56 to 0.65 s a picture, but 1.8 to 0.4 s to open so many nodes; whole
#: pictures 0.82 s, and 1.7 times the memory.
POSITIONS = 24576


@dataclass(frozen=True, slots=True)
class Picture:
    """[N, C, H, W] as strips [N, rows * W, C]; each pixel stands for ``repeat`` x ``repeat`` of them."""

    strips: tuple[ir.Value, ...]
    channels: int
    height: int
    width: int
    repeat: int = 1

    @property
    def positions(self) -> int:
        """Pixels that are written out."""
        return self.height * self.width

    @property
    def rows(self) -> int:
        """Rows of a strip."""
        return self.height // len(self.strips)

    def of(self, strips: Iterable[ir.Value]) -> Picture:
        """Another picture of the same size."""
        return replace(self, strips=tuple(strips))

    def repeated(self, times: int) -> Picture:
        """With every pixel ``times`` x ``times`` as large; nothing is computed."""
        return replace(self, repeat=self.repeat * times)


def strip_rows(height: int, width: int) -> int:
    """Rows of each strip of a picture of this size: the most that fit and divide ``height``; at least 1."""
    fitting = (r for r in range(height, 0, -1) if height % r == 0 and r * width <= POSITIONS)
    return next(fitting, 1)


def shape(source: ir.Value, *sizes: int) -> ir.Shape | None:
    """[N, *sizes] with the rows of ``source``."""
    return None if source.shape is None else ir.Shape([source.shape[0], *sizes])


def split(write: Writer, value: ir.Value) -> Picture:
    """The value [N, C, H, W] as strips; raises Unlike where the graph does not fix C, H and W."""
    check(matching.rank(value) == 4, f"{matching.named(value)} is not [N, C, H, W]")
    channels, height, width = (matching.size(value, axis) for axis in (1, 2, 3))
    last = write.op("Transpose", [value], value.dtype, perm=[0, 2, 3, 1])
    size = shape(value, height * width, channels)
    flat = write.op("Reshape", [last, write.integers(0, -1, channels)], value.dtype, size)
    picture = Picture((flat,), channels, height, width)
    rows = strip_rows(height, width)
    if rows == height:
        return picture
    bounds = range(0, height * width, rows * width)
    return picture.of(
        write.op(
            "Slice", [flat, write.integers(b), write.integers(b + rows * width), write.integers(1)],
            value.dtype, shape(value, rows * width, channels),
        )
        for b in bounds
    )  # fmt: skip


def stacked(write: Writer, strips: Iterable[ir.Value]) -> ir.Value:
    """Values [N, n, C] as one, one behind the other."""
    strips = list(strips)
    if len(strips) == 1:
        return strips[0]
    return write.op("Concat", strips, strips[0].dtype, axis=1)


def joined(write: Writer, picture: Picture) -> ir.Value:
    """The picture as [N, C, H, W]."""
    whole = repeated(write, picture)
    flat = stacked(write, whole.strips)
    sizes = write.integers(0, whole.height, whole.width, whole.channels)
    last = write.op("Reshape", [flat, sizes], flat.dtype)
    size = shape(whole.strips[0], whole.channels, whole.height, whole.width)
    return write.op("Transpose", [last], flat.dtype, size, perm=[0, 3, 1, 2])


def repeated(write: Writer, picture: Picture) -> Picture:
    """The picture with all its pixels written out."""
    if picture.repeat == 1:
        return picture
    flat = stacked(write, picture.strips)
    height, width = (size * picture.repeat for size in (picture.height, picture.width))
    rows = strip_rows(height, width)
    strips = []
    for top in range(0, height, rows):
        y = np.arange(top, top + rows)[:, None] // picture.repeat
        x = np.arange(width) // picture.repeat
        places = (y * picture.width + x).ravel().astype(np.int32)
        label = f"pixels_{picture.height}x{picture.width}_{picture.repeat}_{top}_{rows}"
        size = shape(flat, rows * width, picture.channels)
        indices = write.constant(label, places)
        strips.append(write.op("Gather", [flat, indices], flat.dtype, size, axis=1))
    return Picture(tuple(strips), picture.channels, height, width)
