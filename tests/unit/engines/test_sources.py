"""The digest of the code that builds: it knows what it depends on, and nothing else."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from janus_edge.engines.sources import sources_digest

FILES = {
    "one": "import numpy\nfrom janus_edge.engines.passes import first as renamed\n",
    "passes/__init__": "",
    "passes/first": "def f():\n    import janus_edge.engines.matching\n",
    "passes/second": "",
    "matching": "from janus_edge.errors import EngineError\n",
    "other": "from janus_edge.engines import one\n",
}


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A package in which ``one`` needs ``passes/first``, and that needs ``matching``."""
    for name, source in FILES.items():
        path = tmp_path / "janus_edge" / "engines" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    (tmp_path / "janus_edge" / "errors.py").write_text("class EngineError(Exception): ...\n")
    return tmp_path


def one(packages: Path) -> str:
    return sources_digest(["janus_edge.engines.one"], packages)


@pytest.mark.parametrize("name", ["one", "passes/first", "passes/__init__", "matching"])
def test_code_that_matters(packages: Path, name: str) -> None:
    """The module itself, and what it imports directly, through others or within a function."""
    before = one(packages)
    assert one(packages) == before
    path = packages / "janus_edge" / "engines" / f"{name}.py"
    path.write_text(path.read_text() + "# changed\n")
    assert one(packages) != before


@pytest.mark.parametrize("name", ["engines/passes/second", "engines/other", "errors"])
def test_code_that_does_not(packages: Path, name: str) -> None:
    """Other targets, and what the version of janus-edge covers."""
    before = one(packages)
    (packages / "janus_edge" / f"{name}.py").write_text("changed = True\n")
    assert one(packages) == before


def test_all_roots_count(packages: Path) -> None:
    both = ["janus_edge.engines.one", "janus_edge.engines.passes.second"]
    assert sources_digest(both, packages) == sources_digest(both[::-1], packages)
    assert sources_digest(both, packages) != one(packages)


def test_of_this_package() -> None:
    """The real targets are found, and differ."""
    names = ("janus_edge.engines.ort_cpu", "janus_edge.engines.cache")
    found = [sources_digest([name]) for name in names]
    assert len({*found, sources_digest([])}) == 3


@pytest.fixture
def hurried_threads() -> Iterator[None]:
    """Threads that change as often as they can, in the middle of building a syntax tree too."""
    before, interval = gc.get_threshold(), sys.getswitchinterval()

    def collected(*_: object) -> None:
        sum(range(200))

    gc.callbacks.append(collected)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*before)
    gc.callbacks.remove(collected)


@pytest.mark.usefixtures("hurried_threads")
def test_threads() -> None:
    """Threads that digest at once do not disturb each other (CPython 3.11's parser does)."""
    modules = ["janus_edge.engines.build"]
    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(sources_digest, modules) for _ in range(24)]
    assert len({future.result() for future in found}) == 1
