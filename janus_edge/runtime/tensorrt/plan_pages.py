"""Map a plan's file into memory while TensorRT reads it.

Reading fills the page cache with the file, when its hash is checked and again through the mapping. This
does not affect a GPU with its own memory. If the GPU shares the host's memory, the weights would be
there twice until Linux needs the memory, so the pages are dropped as soon as the plan is open.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mapped(path: Path, *, give_up: bool) -> Iterator[mmap.mmap]:
    """Map a file's content; with ``give_up`` its pages are dropped from the page cache afterwards.

    This is only advice: Linux keeps pages that are not yet on disk, or that another process maps.
    """
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield content
        finally:
            if give_up:
                _give_up(content, file.fileno())


def _give_up(content: mmap.mmap, descriptor: int) -> None:
    """Unmap the pages, then drop them; the cache keeps mapped pages."""
    if hasattr(mmap, "MADV_DONTNEED"):
        content.madvise(mmap.MADV_DONTNEED)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
