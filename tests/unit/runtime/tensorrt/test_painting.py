"""Painting on the GPU as a whole: the codes of the loop over sessions, and what may go wrong."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.engine import Engine
from janus_edge.errors import BackendError, CapacityError, EngineError
from janus_edge.graphs import Graph
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest, image_codes
from janus_edge.runtime.tensorrt.backend import TensorRTBackend
from janus_edge.runtime.tensorrt.image_loop import ImageLoop
from janus_edge.runtime.tensorrt.plan import Plan
from tests.unit.runtime.fakes import CONFIG, FakeBackend
from tests.unit.runtime.tensorrt.engines import Machine, counting_engine, install

STEPS, H = CONFIG.image_tokens, CONFIG.language.hidden_size

#: Targets by the version of TensorRT that runs what they build.
VERSIONS = (
    ("10.3", "tensorrt-10.3"), ("10.13", "tensorrt-10.3"), ("10.16", "tensorrt-10.3"),
    ("10.16", "tensorrt"), ("11.4", "tensorrt"), ("rtx-1.7", "tensorrt-rtx"),
)  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return counting_engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return install(monkeypatch)


def request(
    lengths: Sequence[int],
    prompt_of: Sequence[int],
    guidance_scale: float = 3.0,
    temperature: float = 1.0,
) -> ImageRequest:
    prompts = []
    for length in lengths:
        generator = np.random.default_rng(length)
        cond, uncond = generator.integers(0, 500, (2, length, H)).astype(np.float32)
        prompts.append((cond, uncond))
    count = len(prompt_of)
    return ImageRequest(prompts, prompt_of, [5] * count, range(count), guidance_scale, temperature)


def drawn(made: ImageRequest, backend: Any) -> list[list[int]]:
    return np.stack(list(image_codes(CONFIG, backend, made)), axis=1).tolist()


REQUESTS = [
    ([7], [0], 3.0, 1.0), ([7, 70, 3], [0, 1, 2], 5.0, 0.3), ([7, 3], [1, 0, 1, 1], 1.0, 4.0),
    ([3], [0, 0], 2.0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_codes_are_those_of_the_plain_loop(
    engine: Engine, machine: Machine, asked: Any, cuda_graph: bool
) -> None:
    """Prompts of unequal length, several pictures of one, greedy: exactly the same codes."""
    expected = drawn(request(*asked), FakeBackend())
    backend = TensorRTBackend(engine, cuda_graph=cuda_graph)
    assert drawn(request(*asked), backend) == expected
    backend.close()
    assert machine.driver.live() == {}


@pytest.mark.parametrize(("version", "target"), VERSIONS)
def test_every_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, target: str
) -> None:
    """With the calls that each version has, and no others."""
    machine = install(monkeypatch, version=version)
    tool = "tensorrt-rtx" if version.startswith("rtx") else "tensorrt"
    engine = counting_engine(tmp_path, name=target, versions={tool: machine.module.__version__})
    made = request([7, 3], [0, 1])
    backend = TensorRTBackend(engine)
    assert drawn(made, backend) == drawn(made, FakeBackend())
    assert machine.driver.calls["cuGraphLaunch"] == STEPS - 2
    backend.close()
    assert machine.driver.live() == {}


def test_a_step_is_one_launch(engine: Engine, machine: Machine) -> None:
    """The first code needs the head alone, the second step runs as it is, and from the third on
    each step is one launch of the graph that was captured once; every graph runs once per step."""
    backend = TensorRTBackend(engine)
    drawn(request([7], [0]), backend)
    calls = machine.driver.calls
    assert calls["cuStreamBeginCapture_v2"] == calls["cuGraphInstantiateWithFlags"] == 1
    assert calls["cuGraphLaunch"] == STEPS - 2
    graphs = [(graph, profile) for graph, profile, _ in machine.behaviour.runs]
    assert graphs == [
        ("language_model", 0), ("image_head", 0), ("guided_sampler", 0),
        *[("image_embedding", 0), ("language_model", 1), ("image_head", 0), ("guided_sampler", 0)]
        * (STEPS - 1),
    ]  # fmt: skip


def test_what_a_step_moves(engine: Engine, machine: Machine) -> None:
    """Noise goes up, logits come down to be looked at; codes come down every few steps."""
    backend = TensorRTBackend(engine, fetch_every=4)
    steps = image_codes(CONFIG, backend, request([7], [0]))
    for _ in range(4):
        next(steps)
    before = machine.driver.calls.copy()
    for _ in range(4):
        next(steps)
    moved = machine.driver.calls - before
    assert moved["cuMemcpyHtoDAsync_v2"] == 4
    assert moved["cuMemcpyDtoHAsync_v2"] == 4 + 1
    assert moved["cuMemcpyDtoDAsync_v2"] == 4
    assert moved["cuMemAlloc_v2"] == moved["cuMemAllocHost_v2"] == 0
    steps.close()  # type: ignore[attr-defined]
    backend.close()


@pytest.mark.parametrize("fetch_every", [1, 3, STEPS, 1000])
def test_how_often_codes_are_fetched(engine: Engine, machine: Machine, fetch_every: int) -> None:
    """It changes nothing but when they come; the codes handed out are the caller's own."""
    made = request([7], [0, 0])
    backend = TensorRTBackend(engine, fetch_every=fetch_every)
    found = list(image_codes(CONFIG, backend, made))
    for codes in found:
        assert codes.shape == (2,)
    assert np.stack(found, axis=1).tolist() == drawn(made, FakeBackend())


def test_greedy_draws_no_noise(
    engine: Engine, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is any computed nor copied."""

    def none(*_: object, **__: object) -> None:
        raise AssertionError("noise was drawn")

    monkeypatch.setattr("janus_edge.runtime.tensorrt.image_loop.gumbel_rows", none)
    backend = TensorRTBackend(engine)
    assert drawn(request([7], [0], temperature=0), backend) == drawn(
        request([7], [0], temperature=0), FakeBackend()
    )


def test_others_between_steps(engine: Engine, machine: Machine) -> None:
    """Who uses the contexts between two steps makes the capture void; the codes stay right: two
    pictures at once, in turns, and the loop over sessions besides."""
    first, second = request([7, 3], [0, 1]), request([70], [0], 5.0, 0.5)
    expected = drawn(first, FakeBackend()), drawn(second, FakeBackend())
    backend = TensorRTBackend(engine, fetch_every=1)
    a, b = (image_codes(CONFIG, backend, made) for made in (first, second))
    found: tuple[list[Any], list[Any]] = ([], [])
    plain = ImageDecoder(CONFIG, backend, second)
    third = [plain.first().copy()]
    for step in range(STEPS):
        found[0].append(next(a))
        if step % 5 == 1:
            third.append(plain.step().copy())
        if step % 3 == 0:
            found[1].append(next(b))
    found[1].extend(b)
    for codes, wanted in zip(found, expected, strict=True):
        assert np.stack(codes, axis=1).tolist() == wanted
    assert np.stack(third, axis=1).tolist() == [row[: len(third)] for row in expected[1]]
    assert machine.driver.calls["cuStreamBeginCapture_v2"] > 2
    backend.close()
    assert machine.driver.live() == {}


def test_scratch_memory_that_moves(tmp_path: Path, machine: Machine) -> None:
    """An engine that is opened between two steps and needs more of it moves it, which makes the
    capture void: replaying would use memory that is not ours any more."""
    engine = counting_engine(tmp_path, scratch={"text_head": 50_000})
    made = request([7], [0])
    backend = TensorRTBackend(engine, fetch_every=1)
    steps = image_codes(CONFIG, backend, made)
    found = [next(steps) for _ in range(5)]
    hidden = np.zeros((1, H), np.float32)
    logits = np.zeros((1, CONFIG.language.vocab_size), np.float32)
    backend.session(Graph.TEXT_HEAD).bind({"hidden_states": hidden}, {"logits": logits})()
    scratch = backend.environment().scratch
    assert scratch.generation == 2
    assert scratch.reserve(1).nbytes == 50_000
    found += steps
    assert np.stack(found, axis=1).tolist() == drawn(made, FakeBackend())
    assert machine.driver.calls["cuStreamBeginCapture_v2"] == 2


def test_closing_while_steps_are_under_way(
    engine: Engine, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contexts go when the GPU has done with them; the generator then tells that it was closed."""
    close = Plan.close

    def checked(plan: Plan) -> None:
        assert not any(stream.queue for stream in machine.driver.streams.values())
        close(plan)

    monkeypatch.setattr(Plan, "close", checked)
    backend = TensorRTBackend(engine, fetch_every=1)
    loop = ImageLoop(CONFIG, backend, request([7], [0]))
    steps = loop.codes()
    next(steps)
    loop._queue(1)
    assert any(stream.queue for stream in machine.driver.streams.values())
    backend.close()
    with pytest.raises(BackendError, match="the GPU was closed"):
        next(steps)
    assert machine.driver.live() == {}
    assert machine.behaviour.contexts == 0


def test_closing_the_generator(engine: Engine, machine: Machine) -> None:
    """What the loop took is free for the next one; steps under way are waited for first."""
    backend = TensorRTBackend(engine, fetch_every=3)
    drawn(request([7], [0]), backend)
    gc.collect()
    backend.environment().device.collect()
    before = machine.driver.live()
    steps = image_codes(CONFIG, backend, request([7], [0]))
    next(steps)
    assert machine.driver.live() != before
    steps.close()  # type: ignore[attr-defined]
    del steps
    gc.collect()
    backend.environment().device.collect()
    assert machine.driver.live() == before


@pytest.mark.parametrize("step", [6, STEPS - 1, STEPS])
def test_logits_that_are_not_finite(engine: Engine, machine: Machine, step: int) -> None:
    """Noticed for every step, as the loop over sessions notices it, though nobody waits for it."""
    original = FakeBackend().sessions[Graph.IMAGE_HEAD]._function

    def overflowing(inputs: Any, outputs: Any) -> None:
        original(inputs, outputs)
        heads = sum(1 for graph, _, _ in machine.behaviour.runs if graph == "image_head")
        if heads == step:
            outputs["logits"][0, 3] = np.inf

    machine.functions["image_head"] = overflowing
    with pytest.raises(BackendError, match=f"image logits at step {step} are not finite"):
        drawn(request([7], [0]), TensorRTBackend(engine, fetch_every=100))


def test_bfloat16_logits_that_are_not_finite(tmp_path: Path, machine: Machine) -> None:
    """Stored bits are checked for bfloat16, too."""

    def overflowing(inputs: Any, outputs: Any) -> None:
        outputs["logits"][...] = np.nan

    machine.functions["image_head"] = overflowing
    with pytest.raises(BackendError, match="image logits at step 1 are not finite"):
        drawn(request([7], [0]), TensorRTBackend(counting_engine(tmp_path, "bf16")))


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("capture", "a step cannot be captured .*not permitted when stream is capturing"),
        ("cuStreamEndCapture", "a step cannot be captured .*cuStreamEndCapture answered .* 901"),
        ("not capturable", r"image_embedding.plan: TensorRT-RTX 1.7.1.116 cannot capture"),
    ],
)
def test_what_cannot_be_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str, told: str
) -> None:
    """It is no silent detour: the error names the option, which then works."""
    machine = install(monkeypatch, version="rtx-1.7")
    engine = counting_engine(tmp_path, name="tensorrt-rtx", versions={"tensorrt-rtx": "1.7.1.116"})
    if cause == "capture":
        machine.behaviour.fail["capture"] = "operation not permitted when stream is capturing"
    elif cause == "not capturable":
        machine.behaviour.capturable = False
    else:
        machine.driver.fail(cause, 901)
    made = request([7], [0])
    backend = TensorRTBackend(engine)
    with pytest.raises(BackendError, match=f"{told}.*--no-cuda-graph"):
        drawn(made, backend)
    backend.close()
    assert machine.driver.live() == {}
    backend = TensorRTBackend(engine, cuda_graph=False)
    assert drawn(made, backend) == drawn(made, FakeBackend())
    assert machine.driver.calls["cuGraphLaunch"] == 0


def test_what_the_engine_was_not_built_for(engine: Engine, machine: Machine) -> None:
    """More pictures than the profile has are refused before the prefill, with the command that
    builds for more; prompts that do not fit its cache are a CapacityError."""
    backend = TensorRTBackend(engine)
    with pytest.raises(
        EngineError,
        match=r"was built for image_codes of \[1\] to \[4\], found \[5\]; .*janus-edge build",
    ):
        drawn(request([7], [0] * 5), backend)
    assert machine.behaviour.runs == []
    longest = 128 - (STEPS - 1)
    assert len(drawn(request([longest], [0]), backend)[0]) == STEPS
    with pytest.raises(
        CapacityError, match=r"built for a cache of 128 positions, and 192 .*janus-edge build"
    ):
        drawn(request([longest + 1], [0]), backend)
    runs = len(machine.behaviour.runs)
    with pytest.raises(CapacityError, match="built for a cache of 128 positions, and 192"):
        drawn(request([longest + 1], [0, 0]), backend)
    # before the prefill, though the prompts' own cache is small enough
    assert len(machine.behaviour.runs) == runs
    assert machine.driver.lost == 0


FALLIBLE = (
    "cuMemAlloc_v2", "cuMemAllocHost_v2", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2", "cuMemsetD8Async", "cuStreamSynchronize", "cuEventCreate",
    "cuEventRecord", "cuEventSynchronize", "cuGraphLaunch", "cuCtxSetCurrent",
    "cuStreamBeginCapture_v2", "cuGraphInstantiateWithFlags", "cuGraphDestroy",
)  # fmt: skip


@pytest.mark.parametrize("function", FALLIBLE)
def test_any_call_may_fail(engine: Engine, machine: Machine, function: str) -> None:
    """Whichever call of the driver fails, the first, one in the middle or the last: a BackendError,
    nothing is left behind, and the next request is painted as ever."""
    made, driver = request([7, 3], [1, 0, 1]), machine.driver
    expected = drawn(made, FakeBackend())
    backend = TensorRTBackend(engine, fetch_every=5)
    start = driver.calls[function]
    assert drawn(made, backend) == expected
    count = driver.calls[function] - start
    assert count
    backend.close()
    for after in sorted({0, count // 2, count - 1}):
        backend = TensorRTBackend(engine, fetch_every=5)
        driver.fail(function, 2 if "Alloc" in function else 999, after=after)
        with pytest.raises(BackendError, match=function):
            drawn(made, backend)
        driver.failures.clear()
        assert drawn(made, backend) == expected
        backend.close()
    driver.graphs.clear()  # the one whose end itself failed, and which holds engines here
    gc.collect()
    assert driver.live() == {}


@pytest.mark.parametrize(
    ("call", "doing"),
    [
        ("create_execution_context", "making an execution context"),
        ("set_optimization_profile_async", "choosing optimisation profile 0"),
        ("set_input_shape", "setting inputs_embeds to"),
        ("infer_shapes", "queuing a run"),
        ("set_tensor_address", "setting the address of inputs_embeds"),
        ("execute_async_v3", "queuing a run"),
    ],
)
def test_any_call_of_tensorrt_may_fail(
    engine: Engine, machine: Machine, call: str, doing: str
) -> None:
    """A BackendError with TensorRT's own words, and it works again afterwards."""
    backend = TensorRTBackend(engine)
    backend.session(Graph.LANGUAGE_MODEL)
    machine.behaviour.fail[call] = "words of its own"
    made = request([7], [0])
    with pytest.raises(BackendError, match=r"TensorRT 10\.16\.1 failed while .*words of its own"):
        drawn(made, backend)
    machine.behaviour.fail[call] = "CUDA out of memory"
    with pytest.raises(BackendError, match=r"\(CUDA out of memory(; Error [^)]*)?\); free memory"):
        drawn(made, backend)
    machine.behaviour.fail.clear()
    with pytest.raises(BackendError, match=doing):
        plan = backend.plan(Graph.LANGUAGE_MODEL)
        plan.close()
        backend.close()
        machine.behaviour.fail[call] = "words of its own"
        ImageDecoder(CONFIG, backend, made)
    machine.behaviour.fail.clear()
    assert drawn(made, backend) == drawn(made, FakeBackend())
    backend.close()
    gc.collect()
    assert machine.driver.live() == {}
    assert machine.behaviour.contexts == 0
