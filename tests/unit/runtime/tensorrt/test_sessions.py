"""Graphs on the GPU behind numpy arrays: results as ever, and a cache that stays where it is."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from janus_edge.engine import Engine
from janus_edge.engine_manifest import Range
from janus_edge.errors import BackendError, CapacityError, EngineError, InputError, JanusEdgeError
from janus_edge.graphs import Graph, signature
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.tensorrt.backend import TensorRTBackend
from tests.unit.runtime.fakes import CONFIG, FakeBackend, fake_janus, hidden_of, logits
from tests.unit.runtime.tensorrt.engines import PROFILE, Machine, counting_engine, install

LM, H = CONFIG.language, CONFIG.language.hidden_size


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt-10.3"])
def target(request: pytest.FixtureRequest) -> str:
    """Targets: one updates the cache, the other returns the new rows."""
    return str(request.param)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, target: str) -> Engine:
    return counting_engine(tmp_path_factory.mktemp("engine"), name=target)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory, target: str) -> Engine:
    """With a cache that takes a conversation."""
    profile = replace(PROFILE, capacity=768, prefill=Range(1, 64, 100))
    return counting_engine(tmp_path_factory.mktemp("roomy"), name=target, profile=profile)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return install(monkeypatch)


@pytest.fixture
def backend(engine: Engine, machine: Machine) -> TensorRTBackend:
    return TensorRTBackend(engine)


def rows(*lengths: int) -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [generator.integers(0, 500, (n, H)).astype(np.float32) for n in lengths]


def test_the_plain_loop(backend: TensorRTBackend, machine: Machine) -> None:
    """The loop over sessions gives the codes and hidden states that it gives on the CPU, codes
    written between steps included."""
    prompts = [tuple(rows(n, n)) for n in (7, 70)]
    made = ImageRequest(prompts, [1, 0, 1], [1, 2, 3], [0, 0, 1], 3.0, 1.0)  # type: ignore[arg-type]
    ours, theirs = (ImageDecoder(CONFIG, b, made) for b in (backend, FakeBackend()))
    np.testing.assert_array_equal(ours.first(), theirs.first())
    for step in range(6):
        if step == 3:
            ours.codes[:] = theirs.codes[:] = [4, 0, 9]
        np.testing.assert_array_equal(ours.step(), theirs.step())
        np.testing.assert_array_equal(ours.hidden_states, theirs.hidden_states)
    backend.close()
    assert machine.driver.live() == {}


def test_a_conversation(roomy: Engine, machine: Machine, tmp_path: Path) -> None:
    """Several turns with a picture, streamed: the very words that the CPU says."""
    picture = Image.new("RGB", (20, 30), "teal")
    said: list[list[Any]] = []
    with fake_janus(tmp_path / "cpu", FakeBackend()) as theirs, Janus.load(roomy.path) as ours:
        assert isinstance(ours.backend, TensorRTBackend)
        for one in (theirs, ours):
            chat = one.chat(capacity=512)
            said.append([*chat.stream("what is it?", picture, max_new_tokens=9)])
            said[-1].append(chat.ask("and now?", max_new_tokens=5, temperature=1.0).text)
            said[-1].append(one.describe(None, "why?", max_new_tokens=4).token_ids)
    assert said[0] == said[1]
    assert machine.driver.live() == {}


def test_the_cache_stays_on_the_gpu(backend: TensorRTBackend, machine: Machine) -> None:
    """A step copies embeddings, hidden states and lengths, and nothing of the cache; its arrays
    stay untouched."""
    cache = KVCache(LM, 2, 100, np.float32)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    model.prefill(cache, rows(5, 3))
    step = model.plan(cache, 1)
    step.run()
    before = machine.driver.calls.copy()
    step.run()
    moved = machine.driver.calls - before
    assert moved["cuMemcpyHtoDAsync_v2"] == moved["cuMemcpyDtoHAsync_v2"] == 2
    assert not any(buffer.any() for buffer in cache.buffers)
    assert len({id(buffer.twin) for buffer in cache.buffers}) == 2 * LM.layers


@pytest.mark.parametrize("new", [1, 16, 17, 33, 64])
def test_more_tokens_than_the_profile_takes(
    tmp_path: Path, machine: Machine, target: str, new: int
) -> None:
    """A call with more new tokens than the engine was built for runs in pieces and gives the
    same, rows of other lengths in front included."""
    profile = replace(PROFILE, prefill=Range(1, 8, 16))
    engine = counting_engine(tmp_path, name=target, profile=profile)
    backend = TensorRTBackend(engine)
    cache = KVCache(LM, 2, 128, np.float32)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    given = rows(5, 20)
    model.prefill(cache, given)
    step, more = model.plan(cache, new), rows(new, new)
    step.inputs_embeds[:] = more
    step.run()
    for row, (first, second) in enumerate(zip(given, more, strict=True)):
        expected = hidden_of(np.concatenate([first, second]))[len(first) :]
        np.testing.assert_array_equal(step.hidden_states[row], expected)
    shapes = [s["inputs_embeds"][1] for g, _, s in machine.behaviour.runs if g == "language_model"]
    assert shapes == [16, 4, *[16] * (new // 16), *([new % 16] if new % 16 else [])]


def test_one_token_takes_the_decode_profile(backend: TensorRTBackend, machine: Machine) -> None:
    """Prefills run on the first profile and single tokens on the second, of one engine whose
    weights are there once."""
    cache = KVCache(LM, 1, 64, np.float32)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    model.prefill(cache, rows(5))
    model.plan(cache, 1).run()
    model.plan(cache, 2).run()
    assert [profile for _, profile, _ in machine.behaviour.runs] == [0, 1, 0]
    assert machine.behaviour.contexts == 2
    assert sum(size == 1000 for _, size in machine.driver.memory.values()) == 1


def test_plain_arrays(backend: TensorRTBackend) -> None:
    """Past and present that are no cache's are copied at every call, also where they are two."""
    ports = signature(Graph.LANGUAGE_MODEL, CONFIG)
    shape = {"B": 2, "S": 3, "C": 40}

    def arrays(some: Any) -> dict[str, np.ndarray]:
        return {
            p.name: np.zeros(
                [shape.get(d, d) for d in p.shape], np.int64 if p.dtype == "int64" else np.float32
            )
            for p in some
        }

    inputs, outputs = arrays(ports.inputs), arrays(ports.outputs)
    call = backend.session(Graph.LANGUAGE_MODEL).bind(inputs, outputs)
    theirs = arrays(ports.outputs)
    theirs_call = FakeBackend().session(Graph.LANGUAGE_MODEL).bind(inputs, theirs)
    given = np.random.default_rng(0).integers(0, 500, (3, 2, 3, H))
    for turn in range(3):
        inputs["inputs_embeds"][:] = given[turn]
        call()
        theirs_call()
        for name, array in outputs.items():
            np.testing.assert_array_equal(array, theirs[name])
        for name, array in outputs.items():
            if name.startswith("present_"):
                inputs[name.replace("present_", "past_")][:] = array
        inputs["past_lengths"][:] = outputs["lengths"]
    assert inputs["past_lengths"].tolist() == [9, 9]


def test_a_cache_that_was_filled_here(backend: TensorRTBackend) -> None:
    """What a cache's arrays hold when they are first bound goes along, up to the rows' lengths."""
    given = rows(9, 4)
    cache, theirs = KVCache(LM, 2, 70, np.float32), KVCache(LM, 2, 70, np.float32)
    plain = LanguageModel(FakeBackend().session(Graph.LANGUAGE_MODEL))
    for one in (cache, theirs):
        plain.prefill(one, given)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    found, expected = (m.prefill(c, rows(2, 2)) for m, c in ((model, cache), (plain, theirs)))
    np.testing.assert_array_equal(found, expected)


def test_a_cache_without_room(backend: TensorRTBackend, machine: Machine) -> None:
    """Writing beyond a row's end would harm other memory: no run is queued, whichever row it is,
    the padded ones too."""
    cache = KVCache(LM, 2, 128, np.float32)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    model.prefill(cache, rows(5, 3))
    step = model.plan(cache, 1)
    runs = len(machine.behaviour.runs)
    for lengths in ([128, 3], [3, 128], [-1, 3]):
        cache.lengths[:] = lengths
        with pytest.raises(CapacityError, match="do not fit the 128 positions of the engine"):
            step.run()
    assert len(machine.behaviour.runs) == runs
    cache.lengths[:] = 127
    step.run()
    assert machine.driver.lost == 0


def test_a_cache_that_is_too_large(engine: Engine, backend: TensorRTBackend) -> None:
    """The engine's capacity is fixed: a CapacityError with the command that builds for more."""
    cache = KVCache(LM, 1, 129, np.float32)
    with pytest.raises(CapacityError, match="of 128 positions, and 129 are needed; .*--force"):
        LanguageModel(backend.session(Graph.LANGUAGE_MODEL)).prefill(cache, rows(3))
    with Janus(engine, backend) as janus:
        with pytest.raises(CapacityError, match="140 more positions, the cache holds 0 of 128"):
            janus.chat().ask("hello", max_new_tokens=2)
        with pytest.raises(InputError, match="from 1 to the engine's 128 positions, found 129"):
            janus.chat(capacity=129)


def test_rows_that_are_too_many(backend: TensorRTBackend) -> None:
    """The profile's rows are its limit, told with what it takes and what was asked for."""
    cache = KVCache(LM, 9, 64, np.float32)
    with pytest.raises(
        EngineError, match=r"inputs_embeds of \[1, 1, 6\] to \[8, 64, 6\], found \[9"
    ):
        LanguageModel(backend.session(Graph.LANGUAGE_MODEL)).prefill(cache, rows(*[3] * 9))


@pytest.mark.parametrize("wrong", [
    {"unknown": np.zeros(3, np.float32)}, {"hidden_states": np.zeros((2, H), np.float64)},
    {"hidden_states": np.zeros((2, 1, H), np.float32)},
    {"hidden_states": np.zeros((2, 2 * H), np.float32)[:, ::2]},
])  # fmt: skip
def test_wrong_buffers(backend: TensorRTBackend, wrong: Any) -> None:
    """A wrong name, dtype, number of dimensions or a gap is told when it is bound."""
    session = backend.session(Graph.TEXT_HEAD)
    inputs = {"hidden_states": np.zeros((2, H), np.float32)}
    outputs = {"logits": np.zeros((2, LM.vocab_size), np.float32)}
    with pytest.raises(BackendError, match=r"text_head\.plan: cannot bind its buffers \("):
        session.bind({**inputs, **wrong}, outputs)
    session.bind(inputs, outputs)()


@pytest.mark.parametrize("shape", [(3, LM.vocab_size), (2, LM.vocab_size - 1)])
def test_outputs_of_another_shape(
    backend: TensorRTBackend, machine: Machine, shape: tuple[int, int]
) -> None:
    """The GPU would write beyond them: nothing is queued."""
    call = backend.session(Graph.TEXT_HEAD).bind(
        {"hidden_states": np.zeros((2, H), np.float32)}, {"logits": np.zeros(shape, np.float32)}
    )
    with pytest.raises(BackendError, match=r"logits has the shape \[2, 300\], and the buffer"):
        call()
    assert machine.behaviour.runs == []


def test_past_and_present_of_other_shapes(backend: TensorRTBackend) -> None:
    cache = KVCache(LM, 1, 64, np.float32)
    inputs = {
        "inputs_embeds": np.zeros((1, 1, H), np.float32), "past_lengths": cache.lengths,
        **cache.named("past"),
    }  # fmt: skip
    outputs = {
        "hidden_states": np.zeros((1, 1, H), np.float32), "lengths": np.zeros(1, np.int64),
        **KVCache(LM, 1, 63, np.float32).named("present"),
    }  # fmt: skip
    with pytest.raises(
        BackendError, match=r"present_key.0: is \[1, 3, 63, 2\], and past_key.0 \[1, 3, 64, 2\]"
    ):
        backend.session(Graph.LANGUAGE_MODEL).bind(inputs, outputs)


def test_closing(roomy: Engine, machine: Machine) -> None:
    """It frees all memory; a later call opens the engine again; what was bound before, and a
    conversation, are told that they ended."""
    backend = TensorRTBackend(roomy)
    janus = Janus(roomy, backend)
    chat = janus.chat(capacity=256)
    chat.ask("hello", max_new_tokens=3)
    inputs = {"hidden_states": np.ones((1, H), np.float32)}
    outputs = {"logits": np.zeros((1, LM.vocab_size), np.float32)}
    call = backend.session(Graph.TEXT_HEAD).bind(inputs, outputs)
    backend.close()
    backend.close()
    assert machine.driver.live() == {}
    assert machine.behaviour.contexts == 0
    with pytest.raises(BackendError, match="the GPU was closed"):
        call()
    with pytest.raises(BackendError, match="cache was on the GPU .* start a new one"):
        chat.ask("more", max_new_tokens=3)
    backend.session(Graph.TEXT_HEAD).bind(inputs, outputs)()
    np.testing.assert_array_equal(outputs["logits"], logits(inputs["hidden_states"], LM.vocab_size))
    janus.close()
    assert machine.driver.live() == {}


@pytest.mark.parametrize("version", ["10.3", "11.4", "rtx-1.7"])
def test_the_order_of_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Contexts, engines, compiled kernels and TensorRT's runtime are gone before the GPU's context is
    released, even if bound calls are still held."""
    machine = install(monkeypatch, version=version)
    rtx = version.startswith("rtx")
    tool = "tensorrt-rtx" if rtx else "tensorrt"
    versions = {tool: machine.module.__version__}
    backend = TensorRTBackend(counting_engine(tmp_path, name=tool, versions=versions))
    call = backend.session(Graph.TEXT_HEAD).bind(
        {"hidden_states": np.ones((1, H), np.float32)},
        {"logits": np.zeros((1, LM.vocab_size), np.float32)},
    )
    call()
    alive = {"runtime", "engine", "context", *(["kernels"] if rtx else [])}
    assert {kind for kind, count in machine.driver.guests.items() if count} == alive
    held = backend.environment(), backend.plan(Graph.TEXT_HEAD), call
    backend.close()
    assert machine.driver.calls["cuDevicePrimaryCtxRelease_v2"] == 1
    assert not machine.driver.orphans
    assert held


def test_scratch_memory_of_a_profile(tmp_path: Path, machine: Machine) -> None:
    """A context gets the memory that its own profile takes: single tokens need less than a prefill."""
    engine = counting_engine(tmp_path, scratch={"language_model": [90_000, 5_000]})
    backend = TensorRTBackend(engine)
    cache = KVCache(LM, 1, 64, np.float32)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    scratch = backend.environment().scratch
    model.plan(cache, 1).run()
    assert scratch.reserve(0).nbytes == 5_000
    model.prefill(cache, rows(5))
    assert scratch.reserve(0).nbytes == 90_000


def test_a_failure_that_lasts(backend: TensorRTBackend, machine: Machine) -> None:
    """Behind it every call tells it again, and closing does not fail."""
    session = backend.session(Graph.TEXT_HEAD)
    call = session.bind(
        {"hidden_states": np.ones((1, H), np.float32)},
        {"logits": np.zeros((1, LM.vocab_size), np.float32)},
    )
    machine.driver.fail("cuStreamSynchronize", 719)
    for _ in range(2):
        with pytest.raises(BackendError, match="error 719.*end it and start again"):
            call()
    with pytest.raises(BackendError, match="error 719"):
        backend.session(Graph.IMAGE_HEAD)
    backend.close()


def test_other_threads(backend: TensorRTBackend) -> None:
    """One thread after the other may use a backend: each makes the GPU its own."""
    outputs = {"logits": np.zeros((1, LM.vocab_size), np.float32)}
    inputs = {"hidden_states": np.ones((1, H), np.float32)}
    call = backend.session(Graph.TEXT_HEAD).bind(inputs, outputs)
    failures: list[Exception] = []

    def work() -> None:
        try:
            call()
            backend.session(Graph.IMAGE_HEAD)
        except JanusEdgeError as failure:
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
    np.testing.assert_array_equal(outputs["logits"], logits(inputs["hidden_states"], LM.vocab_size))


def test_bfloat16(tmp_path: Path, machine: Machine) -> None:
    """Engines in bfloat16, which numpy has not, take and give float32 and round on the way."""
    backend = TensorRTBackend(counting_engine(tmp_path, "bf16"))
    assert backend.float_dtype == np.float32
    hidden = np.array([[1.0, 2.0, 255.0, 3.0, 0.0, 64.0]], np.float32)
    made = np.zeros((1, LM.vocab_size), np.float32)
    backend.session(Graph.TEXT_HEAD).bind({"hidden_states": hidden}, {"logits": made})()
    exact = logits(hidden, LM.vocab_size)
    assert np.abs(made - exact).max() <= 2**-7
    assert (made.view(np.uint32) & 0xFFFF == 0).all()
    cache = KVCache(LM, 1, 64, np.float32)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    model.prefill(cache, rows(5))
    twin: Any = cache.buffers[0].twin
    assert twin.place.buffer.nbytes == LM.kv_heads * 128 * LM.head_dim * 2
