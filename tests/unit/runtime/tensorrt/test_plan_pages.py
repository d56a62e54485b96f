"""If the GPU shares the host's memory, an opened plan leaves the page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from janus_edge.graphs import Graph
from janus_edge.runtime.tensorrt.backend import TensorRTBackend
from janus_edge.runtime.tensorrt.plan_pages import mapped
from tests.unit.runtime.cuda.fake_driver import FakeDriver
from tests.unit.runtime.tensorrt.engines import counting_engine, install

PAGES = 256


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """Write a file to the disk and the page cache; its pages must be removable from the cache."""
    path = tmp_path / "some.plan"
    with open(path, "wb") as file:
        file.write(os.urandom(PAGES * mmap.PAGESIZE))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached(path):
        pytest.skip("the file system keeps its pages (tmpfs)")
    return path


def cached(path: Path) -> int:
    """Return how many of a file's pages are in the page cache (mincore(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    size = path.stat().st_size
    with open(path, "rb") as file:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    assert libc.mincore(address, size, pages) == 0
    libc.munmap(address, size)
    return sum(byte & 1 for byte in pages.raw)


@pytest.mark.parametrize("give_up", [True, False])
def test_pages_are_given_up(plan: Path, give_up: bool) -> None:
    """Pages that the hash and the mapping read are given up, but only on request."""
    content = plan.read_bytes()
    with mapped(plan, give_up=give_up) as found:
        assert bytes(memoryview(found)) == content
    assert cached(plan) == (0 if give_up else PAGES)


def test_pages_of_a_plan_that_is_refused(plan: Path) -> None:
    """Pages are given up even if opening fails."""
    with pytest.raises(RuntimeError), mapped(plan, give_up=True) as found:
        assert found[-1:]
        raise RuntimeError
    assert cached(plan) == 0


@pytest.mark.parametrize("integrated", [True, False])
def test_opening_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, integrated: bool
) -> None:
    """Pages are given up if the GPU is integrated, and in no other case."""
    asked = []

    def noted(path: Path, *, give_up: bool) -> object:
        asked.append((path.name, give_up))
        return mapped(path, give_up=give_up)

    monkeypatch.setattr("janus_edge.runtime.tensorrt.plan.mapped", noted)
    install(monkeypatch, FakeDriver(integrated=integrated))
    backend = TensorRTBackend(counting_engine(tmp_path))
    backend.plan(Graph.IMAGE_HEAD)
    assert asked == [("image_head.plan", integrated)]
    backend.close()
