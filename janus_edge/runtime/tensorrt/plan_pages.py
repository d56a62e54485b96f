"""A plan's file in memory while TensorRT reads it.

Reading fills the page cache with the file, once when its hash is checked and again through the mapping.
A GPU with memory of its own does not notice. Where the GPU shares the host's memory, weights would lie
there twice until Linux needs the room, so the pages are given up as soon as the plan is open.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mapped(path: Path, *, give_up: bool) -> Iterator[mmap.mmap]:
    """A file's content, read as it is needed; with ``give_up`` its pages leave the page cache after.

    That is advice: Linux keeps what is not written to the disk yet, or what another process maps.
    """
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield content
        finally:
            if give_up:
                _give_up(content, file.fileno())


def _give_up(content: mmap.mmap, descriptor: int) -> None:
    """Unmap the pages first: those that are mapped stay in the cache."""
    if hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
