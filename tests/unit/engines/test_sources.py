"""The digest of the code that builds: it knows what it depends on, and nothing else."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import janus_edge
from janus_edge.engines import sources
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


@pytest.mark.parametrize(
    "name", ["one", "passes/first", "passes/__init__", "matching", "../errors"]
)
def test_code_that_matters(packages: Path, name: str) -> None:
    """The module itself, and what it imports directly, through others or within a function."""
    before = one(packages)
    assert one(packages) == before
    path = packages / "janus_edge" / "engines" / f"{name}.py"
    path.write_text(path.read_text() + "# changed\n")
    assert one(packages) != before


@pytest.mark.parametrize("name", ["engines/passes/second", "engines/other", "__init__"])
def test_code_that_does_not(packages: Path, name: str) -> None:
    """Other targets do not count, nor does the package's `__init__`, of which only the version is read."""
    before = one(packages)
    (packages / "janus_edge" / f"{name}.py").write_text("changed = True\n")
    assert one(packages) == before


LOADED = """
import sys
from janus_edge.engines import build
import janus_edge.engines.{module}
print(*(name for name in sys.modules if name.startswith("janus_edge.")))
"""


@pytest.mark.parametrize("module", ["ort_cpu", "ort_cuda", "tensorrt_target", "tensorrt_10_3"])
def test_every_module_that_a_builder_loads(tmp_path: Path, module: str) -> None:
    """An edit of any of them changes the digest, including shared code outside the stage."""
    package = Path(janus_edge.__file__).parent
    shutil.copytree(package, tmp_path / "janus_edge", ignore=shutil.ignore_patterns("miniature"))
    command = [sys.executable, "-c", LOADED.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    roots = ["janus_edge.engines.build", f"janus_edge.engines.{module}"]
    before, same = sources_digest(roots, tmp_path), []
    for name in done.stdout.split():
        path = tmp_path.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        text = path.read_text("utf-8")
        path.write_text(f"{text}# changed\n", "utf-8")
        same += [name] if sources_digest(roots, tmp_path) == before else []
        path.write_text(text, "utf-8")
    assert len(done.stdout.split()) > 20
    assert same == []


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

    def digest() -> str:
        sources._imports.cache_clear()  # otherwise only the first of them parses
        return sources_digest(["janus_edge.engines.build"])

    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(digest) for _ in range(24)]
    assert len({future.result() for future in found}) == 1
