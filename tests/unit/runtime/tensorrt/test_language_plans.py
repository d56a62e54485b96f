"""Several plans of the language model: which one runs, what it computes, and which ones are open."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.engine import Engine
from janus_edge.engine_manifest import Range
from janus_edge.errors import BackendError, CapacityError, EngineError, InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest, image_codes
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.parallel_decoding import ParallelDecoder
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.tensorrt.backend import TensorRTBackend
from tests.unit.perturbed import edit_manifest
from tests.unit.runtime.cuda.fake_driver import FakeDriver
from tests.unit.runtime.fakes import CONFIG, FakeBackend, fake_janus, hidden_of
from tests.unit.runtime.tensorrt.engines import PROFILE, Machine, counting_engine, install

STEPS, LM, H = CONFIG.image_tokens, CONFIG.language, CONFIG.language.hidden_size
PAINTING, CHAT = 64, 768
TWO = replace(PROFILE, prefill=Range(1, 16, 100), capacity=PAINTING, chat=CHAT)
SPLIT = replace(TWO, rows=Range(1, 8, 8), split=True)
#: The weights of one plan, and a GPU that has room for one copy of them.
WEIGHTS, MEMORY = 20 << 20, 32 << 20


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return counting_engine(tmp_path_factory.mktemp("two"), profile=TWO, weights=WEIGHTS)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return counting_engine(tmp_path_factory.mktemp("split"), profile=SPLIT, weights=WEIGHTS)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return install(monkeypatch)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Install a machine whose GPU has room for one plan of the language model."""
    return install(monkeypatch, FakeDriver(total=MEMORY))


def request(lengths: Sequence[int], prompt_of: Sequence[int]) -> ImageRequest:
    prompts = []
    for length in lengths:
        cond, uncond = np.random.default_rng(length).integers(0, 500, (2, length, H)).astype("f4")
        prompts.append((cond, uncond))
    count = len(prompt_of)
    return ImageRequest(prompts, prompt_of, [5] * count, range(count), 3.0, 1.0)


def drawn(made: ImageRequest, backend: Any) -> list[list[int]]:
    return np.stack(list(image_codes(CONFIG, backend, made)), axis=1).tolist()


def ran(machine: Machine) -> list[tuple[int, int, int]]:
    """Return rows, new tokens and capacity of the language model's runs, without consecutive repetitions."""
    found: list[tuple[int, int, int]] = []
    for graph, _, shapes in machine.behaviour.runs:
        if graph == "language_model":
            rows, new, _ = shapes["inputs_embeds"]
            one = (rows, new, shapes["past_key.0"][2])
            found += [one] if found[-1:] != [one] else []
    return found


@pytest.mark.parametrize(
    ("lengths", "prompt_of", "expected"),
    [
        ([7], [0], [(2, 7, PAINTING), (2, 1, PAINTING)]),
        ([49], [0], [(2, 49, PAINTING), (2, 1, PAINTING)]),
        ([50], [0], [(2, 50, CHAT), (2, 1, CHAT)]),
        ([7, 70], [0, 1], [(4, 70, CHAT), (4, 1, CHAT)]),
        ([7], [0, 0], [(2, 7, PAINTING), (4, 1, PAINTING)]),
        # the prompt alone fits the smaller cache, the picture does not
        ([60], [0, 0], [(2, 60, PAINTING), (4, 1, CHAT)]),
    ],
)
def test_painting_takes_the_smallest(
    two: Engine, machine: Machine, lengths: Any, prompt_of: Any, expected: Any
) -> None:
    """The smallest plan that holds prompts and pictures draws the CPU's codes; the other plans stay
    closed."""
    made = request(lengths, prompt_of)
    backend = TensorRTBackend(two)
    assert drawn(made, backend) == drawn(made, FakeBackend())
    assert ran(machine) == expected
    capacities = {capacity for _, _, capacity in expected}
    names = {PAINTING: "language_model", CHAT: "language_model-chat"}
    opened = [n for n in machine.behaviour.opened if n.startswith("language_model")]
    assert sorted(opened) == sorted(names[c] for c in capacities)
    backend.close()
    assert machine.driver.live() == {}


@pytest.mark.parametrize("length", [7, 60])
def test_the_plain_loop(two: Engine, machine: Machine, length: int) -> None:
    """The loop over sessions uses the same plans."""
    made = request([length], [0, 0])
    ours, theirs = (ImageDecoder(CONFIG, b, made) for b in (TensorRTBackend(two), FakeBackend()))
    np.testing.assert_array_equal(ours.first(), theirs.first())
    for _ in range(STEPS - 1):
        np.testing.assert_array_equal(ours.step(), theirs.step())
    assert ran(machine)[-1] == (4, 1, PAINTING if length == 7 else CHAT)


@pytest.mark.parametrize("width", [4, 32])
def test_windows(two: Engine, split: Engine, machine: Machine, width: int) -> None:
    """In parallel decoding, a window beyond the picture's end gets the room that it needs. Finished pictures
    leave the cache, and the codes are the same."""
    made = request([40], [0, 0, 0])
    expected = ParallelDecoder(CONFIG, FakeBackend(), made, width)
    while not expected.finished:
        expected.advance()
    for engine in (two, split):
        machine.behaviour.runs.clear()
        backend = TensorRTBackend(engine)
        found = ParallelDecoder(CONFIG, backend, made, width)
        while not found.finished:
            found.advance()
        np.testing.assert_array_equal(found.drawn, expected.drawn)
        assert {capacity for _, new, capacity in ran(machine) if new == width} == {
            PAINTING if width == 4 else CHAT
        }
        backend.close()


def test_a_conversation_stays(two: Engine, machine: Machine, tmp_path: Path) -> None:
    """Every run of a conversation uses the plan of its capacity, whatever is painted between turns. A
    short question uses the small plan."""
    said = []
    for janus in (Janus.load(two.path), fake_janus(tmp_path / "cpu", FakeBackend())):
        with janus:
            chat, short = janus.chat(), janus.chat(capacity=PAINTING)
            turns = [chat.ask("and what is it?", max_new_tokens=3).token_ids]
            steps = janus.generate_steps("a fox", seed=3)
            turns.append([next(steps).codes.tolist() for _ in range(STEPS - 1)])
            turns.append(chat.ask("why?", max_new_tokens=3).token_ids)
            try:
                turns.append(short.ask("why?", max_new_tokens=2).token_ids)
            except CapacityError:
                turns.append("full")  # both say so
            said.append((turns, chat.positions[0]))
    assert said[0] == said[1]
    capacities = [capacity for rows, _, capacity in ran(machine) if rows == 1]
    assert capacities == [CHAT] * len(capacities)
    assert machine.driver.live() == {}


def test_the_capacity_of_a_conversation(two: Engine, machine: Machine) -> None:
    """The default capacity is that of the largest plan; a larger one is refused."""
    with Janus.load(two.path) as janus:
        assert janus.chat().positions[1] == CHAT
        assert f"1 row x {CHAT} positions" in str(janus.chat_memory(100))
        assert f"2 rows x {CHAT} positions" in str(janus.generation_memory("a fox " * 9))
        with pytest.raises(InputError, match=f"from 1 to the engine's {CHAT} positions, found 769"):
            janus.chat(capacity=CHAT + 1)


def test_beyond_all_plans(two: Engine, machine: Machine) -> None:
    """A CapacityError gives the command that builds for exactly what was asked."""
    backend = TensorRTBackend(two)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    with pytest.raises(
        CapacityError,
        match=r"cache of 768 positions, and 800 are needed; .*capacity=64,chat=800 --force",
    ):
        model.prefill(KVCache(LM, 1, 800, np.float32), [np.ones((3, H), np.float32)])
    with pytest.raises(CapacityError, match="768 positions, and 832 are needed"):
        drawn(request([768], [0, 0]), backend)
    assert machine.behaviour.runs == []


def language_models(machine: Machine) -> int:
    """Return how often the weights are in the GPU's memory."""
    return sum(size == WEIGHTS for _, size in machine.driver.memory.values())


def test_memory_for_one(two: Engine, small: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """If the weights fit only once, the needed plan replaces the other one, which is logged. What was bound
    to it runs again, and conversations and pictures are as before."""
    backend = TensorRTBackend(two, fetch_every=1)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    cache, given = KVCache(LM, 1, CHAT, np.float32), np.random.default_rng(2)
    first, second = (given.integers(0, 500, (n, H)).astype("f4") for n in (9, 5))
    made = request([7], [0, 0])
    expected = drawn(made, FakeBackend())
    steps = image_codes(CONFIG, backend, made)
    codes = [next(steps) for _ in range(6)]
    assert not caplog.messages
    model.prefill(cache, [first])
    assert language_models(small) == 1
    assert len(caplog.messages) == 1
    assert "language_model-chat.plan takes about 20 MiB of GPU memory" in caplog.text
    assert "closing language_model.plan, which opens again when needed" in caplog.text
    codes += [next(steps) for _ in range(4)]
    assert language_models(small) == 1
    found = model.prefill(cache, [second])
    np.testing.assert_array_equal(found[0], hidden_of(np.concatenate([first, second]))[-1])
    codes += steps
    assert np.stack(codes, axis=1).tolist() == expected
    opened = [name for name in small.behaviour.opened if name.startswith("language_model")]
    assert opened == ["language_model", "language_model-chat"] * 2 + ["language_model"]
    assert len(caplog.messages) == 4
    # each time it is opened again, one step runs uncaptured and the next one is captured
    assert small.driver.calls["cuStreamBeginCapture_v2"] == 3
    backend.close()
    assert small.driver.live() == {}


def test_memory_for_all(two: Engine, machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """If there is room, both plans stay open, and each is opened once."""
    caplog.set_level(logging.INFO)
    backend = TensorRTBackend(two)
    for lengths in ([7], [70], [7], [70]):
        drawn(request(lengths, [0]), backend)
    assert language_models(machine) == 2
    assert not caplog.messages
    assert sum(name.startswith("language_model") for name in machine.behaviour.opened) == 2


@pytest.mark.parametrize(("total", "open_at_once"), [(44 << 20, 1), (48 << 20, 2)])
def test_memory_that_stays_free(
    two: Engine, monkeypatch: pytest.MonkeyPatch, total: int, open_at_once: int
) -> None:
    """A tenth stays free beside a second plan: weights alone would fit twice."""
    machine = install(monkeypatch, FakeDriver(total=total))
    backend = TensorRTBackend(two)
    for lengths in ([7], [70]):
        drawn(request(lengths, [0]), backend)
    assert language_models(machine) == open_at_once


def test_memory_that_tensorrt_does_not_find(
    tmp_path: Path, small: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """If a file is smaller than its weights in memory, other plans are closed once TensorRT reports that
    there is no memory. A plan that does not fit alone fails as before."""
    engine = counting_engine(tmp_path, profile=TWO, weights=WEIGHTS, padded=False)
    backend = TensorRTBackend(engine)
    for lengths in ([7], [70]):
        made = request(lengths, [0])
        assert drawn(made, backend) == drawn(made, FakeBackend())
    assert language_models(small) == 1
    assert "closing language_model.plan" in caplog.text
    backend.close()
    small.driver.total = WEIGHTS
    with pytest.raises(BackendError, match="out of memory.*free memory of the GPU"):
        drawn(request([70], [0]), backend)
    backend.close()
    assert small.driver.live() == {}


def test_a_driver_that_is_lost(two: Engine, small: Machine) -> None:
    """No plan is closed for another one, and each request reports the driver's lasting error."""
    backend = TensorRTBackend(two)
    drawn(request([7], [0]), backend)
    small.driver.fail("cuStreamSynchronize", 719)
    for _ in range(2):
        with pytest.raises(BackendError, match="error 719"):
            drawn(request([70], [0]), backend)
    backend.close()


@pytest.mark.parametrize(
    ("lengths", "prompt_of"),
    [([7], [0]), ([7, 3], [1, 0, 1]), ([7, 3, 9, 4], [0, 1, 2, 3]), ([70], [0]), ([60], [0, 0])],
)
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_split_plans(
    split: Engine, machine: Machine, lengths: Any, prompt_of: Any, cuda_graph: bool
) -> None:
    """Prefill and decode have their own plans, always with all rows. The codes do not depend on how many
    rows are asked for."""
    made = request(lengths, prompt_of)
    backend = TensorRTBackend(split, cuda_graph=cuda_graph)
    assert drawn(made, backend) == drawn(made, FakeBackend())
    capacity = PAINTING if lengths != [70] else CHAT
    last = PAINTING if max(lengths) < 50 else CHAT
    assert ran(machine) == [(8, max(lengths), capacity), (8, 1, last)]
    names = {PAINTING: "language_model", CHAT: "language_model-chat"}
    opened = [n for n in machine.behaviour.opened if n.startswith("language_model")]
    assert opened == [f"{names[capacity]}-prefill", f"{names[last]}-decode"]
    assert machine.driver.calls["cuGraphLaunch"] == (STEPS - 2 if cuda_graph else 0)
    backend.close()
    assert machine.driver.live() == {}


def test_split_plans_and_little_memory(split: Engine, small: Machine) -> None:
    """Decode's plan replaces prefill's."""
    made = request([7], [0])
    backend = TensorRTBackend(split)
    assert drawn(made, backend) == drawn(made, FakeBackend())
    assert language_models(small) == 1
    assert small.driver.calls["cuStreamBeginCapture_v2"] == 1


def test_split_plans_in_pieces(split: Engine, machine: Machine) -> None:
    """A prompt longer than a prefill, rows of unequal length and then single tokens are computed."""
    backend = TensorRTBackend(split)
    cache = KVCache(LM, 2, 300, np.float32)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    rows = [np.random.default_rng(n).integers(0, 500, (n, H)).astype("f4") for n in (230, 90)]
    found = model.prefill(cache, rows)
    np.testing.assert_array_equal(found, [hidden_of(row)[-1] for row in rows])
    step = model.plan(cache, 1)
    step.inputs_embeds[:] = 7
    step.run()
    for index, row in enumerate(rows):
        longer = np.concatenate([row, np.full((1, H), 7, np.float32)])
        np.testing.assert_array_equal(step.hidden_states[index, 0], hidden_of(longer)[-1])
    assert ran(machine) == [(8, 100, CHAT), (8, 30, CHAT), (8, 1, CHAT)]


def test_more_rows_than_split_plans_take(split: Engine, machine: Machine) -> None:
    """The error gives what the plans take and what was asked for."""
    backend = TensorRTBackend(split)
    with pytest.raises(EngineError, match=r"inputs_embeds of \[8, 1, 6\] to .*, found \[9, 3, 6\]"):
        LanguageModel(backend.session(Graph.LANGUAGE_MODEL)).prefill(
            KVCache(LM, 9, 64, np.float32), [np.ones((3, H), np.float32)] * 9
        )


def test_closing(two: Engine, machine: Machine) -> None:
    """Closing a backend closes every plan; bound calls then say so."""
    backend = TensorRTBackend(two)
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    step = model.plan(KVCache(LM, 1, CHAT, np.float32), 1)
    assert machine.behaviour.opened == ["language_model-chat"]
    backend.close()
    with pytest.raises(BackendError, match="the GPU was closed"):
        step.run()
    assert machine.driver.live() == {}
    assert not machine.driver.orphans


@pytest.fixture
def edited(two: Engine, tmp_path: Path) -> Path:
    """Return a copy of the engine's folder that a test may damage."""
    return Path(shutil.copytree(two.path, tmp_path / "engine"))


def test_a_plan_of_another_capacity(edited: Path, machine: Machine) -> None:
    """The manifest's entry for a plan is compared with the plan itself."""

    def change(data: Any) -> None:
        data["plans"][0]["file"], data["plans"][1]["file"] = (
            data["plans"][1]["file"], data["plans"][0]["file"],
        )  # fmt: skip
        data["graphs"]["language_model"]["file"] = data["plans"][0]["file"]

    edit_manifest(edited, change)
    backend = TensorRTBackend(Engine.open(edited))
    with pytest.raises(
        EngineError,
        match=r"is no engine of language_model \(past_key.0 has the shape \[-1, 3, 768, 2",
    ):
        drawn(request([7], [0]), backend)
    backend.close()


def test_an_engine_without_plans(edited: Path, machine: Machine) -> None:
    edit_manifest(edited, lambda data: data.update(plans=[]))
    with pytest.raises(EngineError, match="lists no plan of language_model; build it again with"):
        TensorRTBackend(Engine.open(edited)).session(Graph.LANGUAGE_MODEL)


def test_files_are_checked(edited: Path, machine: Machine) -> None:
    """Every plan's file is checked when it is first opened."""
    path = edited / "graphs" / "language_model-chat.plan"
    path.write_bytes(path.read_bytes()[:-1] + b"\n")
    backend = TensorRTBackend(Engine.open(edited))
    drawn(request([7], [0]), backend)
    with pytest.raises(EngineError, match=r"language_model-chat\.plan: its SHA-256 differs"):
        drawn(request([70], [0]), backend)
    backend.close()
