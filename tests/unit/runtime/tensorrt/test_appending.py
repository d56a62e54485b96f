"""If an engine returns the new keys and values, the runtime's kernel appends them to the cache."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.engine import Engine
from janus_edge.engine_manifest import Range
from janus_edge.errors import BackendError
from janus_edge.graphs import Graph
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.parallel_decoding import ParallelDecoder
from janus_edge.runtime.tensorrt.backend import TensorRTBackend
from janus_edge.runtime.tensorrt.image_loop import ImageLoop
from tests.unit.runtime.fakes import CONFIG, FakeBackend
from tests.unit.runtime.tensorrt.engines import PROFILE, Machine, counting_engine, install
from tests.unit.runtime.tensorrt.test_painting import REQUESTS, STEPS, drawn, request

LM, H = CONFIG.language, CONFIG.language.hidden_size


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return counting_engine(tmp_path_factory.mktemp("engine"), name="tensorrt-10.3")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return install(monkeypatch)


@pytest.fixture
def backend(engine: Engine, machine: Machine) -> TensorRTBackend:
    return TensorRTBackend(engine)


def rows(*lengths: int) -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [generator.integers(0, 500, (n, H)).astype(np.float32) for n in lengths]


def on_device(cache: KVCache, capacity: int) -> list[np.ndarray]:
    """Return all ``capacity`` positions of a cache from the GPU."""
    found = []
    for buffer in cache.buffers:
        whole = np.zeros((*buffer.shape[:2], capacity, buffer.shape[3]), buffer.dtype)
        buffer.twin.download(whole)  # type: ignore[union-attr]
        found.append(whole)
    return found


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_codes_are_those_of_the_plain_loop(
    tmp_path: Path, machine: Machine, asked: Any, cuda_graph: bool, precision: str
) -> None:
    """Codes are exactly the same, captured or not, in units of 4 bytes and of halves."""
    dtype = np.float32 if precision == "fp32" else np.float16
    made = request(*asked)
    expected = drawn(made, FakeBackend(dtype))
    backend = TensorRTBackend(
        counting_engine(tmp_path, precision, name="tensorrt-10.3"), cuda_graph=cuda_graph
    )
    assert drawn(made, backend) == expected
    assert machine.driver.calls["cuGraphLaunch"] == (STEPS - 2 if cuda_graph else 0)
    backend.close()
    assert machine.driver.live() == {}


def test_one_launch_a_step(backend: TensorRTBackend, machine: Machine) -> None:
    """One kernel appends all layers' keys and values and is captured with the step. It is queued in the
    prefill, in the uncaptured step and in the capture. It adds no copy and no memory to a step."""
    drawn(request([7], [0]), backend)
    calls = machine.driver.calls
    assert calls["cuLaunchKernel"] == 3
    assert calls["cuModuleLoadData"] == 1
    steps = ImageLoop(CONFIG, backend, request([7], [0])).codes()
    for _ in range(4):
        next(steps)
    before = calls.copy()
    for _ in range(4):
        next(steps)
    moved = calls - before
    assert not {"cuLaunchKernel", "cuMemAlloc_v2", "cuMemAllocHost_v2"} & {*moved}


@pytest.mark.parametrize("new", [1, 3])
def test_the_cache_on_the_gpu(backend: TensorRTBackend, new: int) -> None:
    """A call changes only the new positions of each row, to what the graph table's cache would hold.
    Positions that were never written stay zero."""
    lengths, capacity = (5, 2, 9), 128
    cache, theirs = KVCache(LM, 3, 64, np.float32), KVCache(LM, 3, capacity, np.float32)
    ours = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    plain = LanguageModel(FakeBackend().session(Graph.LANGUAGE_MODEL))
    for model, one in ((ours, cache), (plain, theirs)):
        model.prefill(one, rows(*lengths))
        model.prefill(one, rows(new, new, new))
    for found, expected in zip(on_device(cache, capacity), theirs.buffers, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_pieces_share_their_memory(tmp_path: Path, machine: Machine) -> None:
    """A prefill of many pieces holds the new rows of one full piece and of the rest, and frees them
    afterwards."""
    profile = replace(PROFILE, prefill=Range(1, 4, 8))
    backend = TensorRTBackend(counting_engine(tmp_path, name="tensorrt-10.3", profile=profile))
    cache, device = KVCache(LM, 2, 128, np.float32), backend.environment().device
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))

    def held() -> int:
        gc.collect()
        device.collect()
        return len(machine.driver.memory)

    model.prefill(cache, rows(8, 8))
    before = held()
    step = model.plan(cache, 8)
    one_piece = held() - before
    del step
    assert held() == before
    kept = model.plan(cache, 8 * 9 + 3)
    pieces, tensors = 10, 2 * LM.layers
    # each piece has its four arrays and its table of addresses
    assert held() - before == 2 * tensors + pieces * (one_piece - tensors)
    del kept
    assert held() == before


@pytest.mark.parametrize("width", [2, 8])
def test_windows(backend: TensorRTBackend, width: int) -> None:
    """Parallel decoding draws the same codes. Rejected drafts are overwritten in each row's cache, and the
    remaining rows move to a cache of their own."""
    made = request([7, 20, 3], [0, 1, 2], 3.0, 0.7)
    decoder = ParallelDecoder(CONFIG, backend, made, width)
    while not decoder.finished:
        decoder.advance()
    assert decoder.drawn.tolist() == drawn(made, FakeBackend())


def test_others_between_steps(backend: TensorRTBackend) -> None:
    """Two pictures that take turns share the memory of their new rows, and each appends its own."""
    first, second = request([7, 3], [0, 1]), request([70, 2], [0, 1], 5.0, 0.5)
    loops = [ImageLoop(CONFIG, backend, made).codes() for made in (first, second)]
    found = [[next(loop) for loop in loops] for _ in range(STEPS)]
    for index, made in enumerate((first, second)):
        codes = np.stack([pair[index] for pair in found], axis=1)
        assert codes.tolist() == drawn(made, FakeBackend())


@pytest.mark.parametrize("function", ["cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel"])
def test_any_call_may_fail(engine: Engine, machine: Machine, function: str) -> None:
    """A failed call is a BackendError, nothing is left behind, and the next request paints as usual."""
    made, driver = request([7, 3], [1, 0, 1]), machine.driver
    expected = drawn(made, FakeBackend())
    backend = TensorRTBackend(engine)
    driver.fail(function, 222 if function == "cuModuleLoadData" else 999)
    with pytest.raises(BackendError, match=f"append_rows: {function}"):
        drawn(made, backend)
    assert drawn(made, backend) == expected
    backend.close()
    gc.collect()
    assert driver.live() == {}
