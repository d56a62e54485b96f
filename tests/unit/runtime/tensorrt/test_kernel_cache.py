"""Kernels that TensorRT-RTX compiled: the next process has them, and a bad file harms nobody."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from janus_edge.engine import Engine
from janus_edge.graphs import Graph
from janus_edge.runtime.tensorrt.backend import TensorRTBackend
from tests.unit.runtime.cuda.fake_driver import FakeDriver
from tests.unit.runtime.fakes import CONFIG
from tests.unit.runtime.tensorrt.engines import Machine, counting_engine, install

H, V = CONFIG.language.hidden_size, CONFIG.language.vocab_size


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("engine")
    return counting_engine(folder, name="tensorrt-rtx", versions={"tensorrt-rtx": "1.7.1.116"})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the caches."""
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return install(monkeypatch, version="rtx-1.7")


def use(engine: Engine, machine: Machine, *graphs: Graph) -> int:
    """Open the engine, run graphs, close it; how many kernels were compiled."""
    before = len(machine.behaviour.compiled)
    backend = TensorRTBackend(engine)
    for graph in graphs:
        name, size = ("logits", V if graph is Graph.TEXT_HEAD else CONFIG.vq.codebook_size)
        inputs = {"hidden_states": np.ones((2, H), np.float32)}
        backend.session(graph).bind(inputs, {name: np.zeros((2, size), np.float32)})()
    backend.close()
    return len(machine.behaviour.compiled) - before


def test_the_second_start(engine: Engine, machine: Machine, cache: Path) -> None:
    """It compiles only what is new; one file holds the kernels of all graphs."""
    assert use(engine, machine, Graph.TEXT_HEAD) == 1
    assert use(engine, machine, Graph.TEXT_HEAD) == 0
    assert use(engine, machine, Graph.TEXT_HEAD, Graph.IMAGE_HEAD) == 1
    assert use(engine, machine, Graph.IMAGE_HEAD, Graph.TEXT_HEAD) == 0
    (file,) = cache.iterdir()
    written = file.stat().st_mtime_ns
    use(engine, machine, Graph.TEXT_HEAD)
    assert file.stat().st_mtime_ns == written, "what is not new is not written"


def test_another_gpu(
    engine: Engine, machine: Machine, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another GPU of the same compute capability has a file of its own."""
    use(engine, machine, Graph.TEXT_HEAD)
    other = install(monkeypatch, FakeDriver(name=b"Another"), "rtx-1.7")
    assert use(engine, other, Graph.TEXT_HEAD) == 1
    assert len([*cache.iterdir()]) == 2


@pytest.mark.parametrize("damage", ["altered", "cut", "empty", "text"])
def test_a_damaged_file(
    engine: Engine, machine: Machine, cache: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It never reaches TensorRT: a warning, kernels are compiled anew, and the file is whole again."""
    use(engine, machine, Graph.TEXT_HEAD)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    content = {
        "altered": whole[:-1] + b"?", "cut": whole[:40], "empty": b"", "text": b"no cache",
    }[damage]  # fmt: skip
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert use(engine, machine, Graph.TEXT_HEAD) == 1
    assert [*map(str, cache.iterdir())] == [str(file)]
    assert file.read_bytes() == whole
    assert ["is damaged, so kernels are compiled anew" in m for m in caplog.messages] == (
        [] if damage == "empty" else [True]
    )


@pytest.mark.parametrize(
    ("failure", "message"),
    [("deserialize_cache", "of another driver or version"), ("set_runtime_cache", "refused the")],
)
def test_a_cache_that_is_refused(
    engine: Engine, machine: Machine, cache: Path, failure: str, message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """TensorRT's refusal is a warning; the engine runs."""
    use(engine, machine, Graph.TEXT_HEAD)
    machine.behaviour.fail[failure] = "no"
    with caplog.at_level(logging.WARNING):
        assert use(engine, machine, Graph.TEXT_HEAD) == 1
    assert [message in m for m in caplog.messages] == [True]


def test_a_folder_that_cannot_be_written(
    engine: Engine, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A warning, also where this user has no home; nothing half-written is left."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("JANUS_EDGE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert use(engine, machine, Graph.TEXT_HEAD) == 1
    assert ["compiled kernels are not kept (" in m for m in caplog.messages] == [True]
    machine.behaviour.fail["serialize"] = "no"
    assert use(engine, machine, Graph.TEXT_HEAD) == 1


def test_tensorrt_compiles_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engines hold their kernels: no file."""
    (tmp_path / "made").mkdir()
    use(counting_engine(tmp_path / "made"), install(monkeypatch), Graph.TEXT_HEAD)
    assert not cache.exists()
