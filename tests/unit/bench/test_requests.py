"""Real loops of the runtime on a fake backend, with a clock that goes on by 1000 at each look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from janus_edge.bench.recorder import Recorder, TimedBackend, TimedPainter, timed_backend
from janus_edge.bench.requests import Requests
from janus_edge.bench.timeline import timeline
from janus_edge.graphs import Graph
from janus_edge.runtime.image_decoding import ImageRequest, image_codes
from janus_edge.runtime.prompts import text_to_image_ids
from tests.unit.bench.reports import ticking
from tests.unit.runtime.fakes import CONFIG, SPECIAL, FakeBackend, fake_janus

#: One look at the clock.
TICK = 1000


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def requests(tmp_path: Path, backend: FakeBackend) -> Requests:
    return Requests(fake_janus(tmp_path / "fake", backend), Recorder(ticking(TICK)))


def test_a_step_of_painting(requests: Requests) -> None:
    """Each call takes from look to look; all else is the host's, the caller's time is nobody's."""
    found = requests.paint("a red fox", 1, 1, 5, 0, lambda: None)
    assert len(found.steps) == 4
    for number, step in enumerate(found.steps):
        assert step.parts == {
            "image_embedding": TICK,
            "language_model": TICK,
            "image_head": TICK,
            "guided_sampler": TICK,
            "host": 5 * TICK,
            "outside": 5 * TICK,
            "step": 9 * TICK,
        }
        assert step.gaps == {
            "image_embedding": 2 * TICK,  # before and behind the caller
            "language_model": TICK,
            "image_head": TICK,
            "guided_sampler": TICK,
        }
        assert step.position == found.prompt_tokens + number


def test_the_first_request_opens_the_graphs(requests: Requests) -> None:
    """Opening is told by graph, once; it is part of the time to the first code, and of no stage."""
    first = requests.paint("a red fox", 1, 1, 2, 0, lambda: None)
    again = requests.paint("a red fox", 1, 1, 2, 0, lambda: None)
    wanted = {"language_model", "image_head", "guided_sampler", "image_embedding"}
    assert first.opened == dict.fromkeys(wanted, TICK)
    assert again.opened == {}
    assert first.stages["prefill"] == again.stages["prefill"] == [TICK]
    # a graph that is opened costs one look more around it
    assert first.first - again.first == 2 * len(wanted) * TICK
    own = sum(sum(again.stages[s]) for s in ("tokenise", "prefill", "host_before_first"))
    # with two look-ups of text, the head and the sampler
    assert again.first == own + 4 * TICK


def test_what_painting_is_bound_to(requests: Requests) -> None:
    """Rows are two a picture of each prompt; a position's bytes are those of all rows and layers."""
    found = requests.paint("a red fox", 2, 3, 2, 0, lambda: None)
    assert found.binding is not None
    assert found.binding.rows == 12
    lm = CONFIG.language
    assert found.binding.position_bytes == 2 * lm.layers * 12 * lm.kv_heads * lm.head_dim * 4
    assert found.binding.capacity % 64 == 0
    assert found.binding.new == 1


def test_timing_changes_no_code(tmp_path: Path) -> None:
    """Through the timed wrappers the same codes are drawn."""
    codes = []
    for timed in (False, True):
        backend = FakeBackend()
        janus = fake_janus(tmp_path / "fake", backend)
        if timed:
            janus.backend = TimedBackend(backend, Recorder())
        steps = janus.generate_steps("a red fox", 2, seed=3)
        codes.append([next(steps).codes.copy() for _ in range(9)][-1])
        steps.close()  # type: ignore[attr-defined]
    assert np.array_equal(*codes)
    assert len(np.unique(codes[0])) > 3


def test_a_step_of_answering(requests: Requests) -> None:
    """The host draws the token, looks its embedding up and turns it into text."""
    found = requests.answer("What?", [Image.new("RGB", (20, 10))], 6, None, lambda: None)
    assert len(found.steps) == 5
    step = found.steps[0].parts
    graphs = {"language_model": TICK, "text_head": TICK}
    host = {"text_embedding": TICK, "detokenise": TICK, "text_sampler": TICK}
    assert {name: step[name] for name in (*graphs, *host)} == {**graphs, **host}
    assert step["outside"] == step["host"] + 3 * TICK == step["step"] - 2 * TICK
    assert "detokenise" not in found.steps[0].gaps
    assert found.stages["vision_encoder"] == [TICK]
    assert found.prompt_tokens > CONFIG.image_tokens


def test_an_answer_does_not_end_early(requests: Requests, backend: FakeBackend) -> None:
    """The end-of-sentence token is a token like any other: all answers are equally long."""
    backend.script = [SPECIAL.eos, 65, SPECIAL.eos, 66, 67]
    assert len(requests.answer("What?", [], 5, None, lambda: None).steps) == 4


def test_capacity_of_a_conversation(requests: Requests) -> None:
    found = requests.answer("What?", [], 3, 512, lambda: None)
    assert found.binding is not None
    assert (found.binding.rows, found.binding.capacity) == (1, 512)


def test_ticks(tmp_path: Path) -> None:
    """The caller is told of each code, and what it does is not on the clock."""
    clock, ticks = ticking(TICK), []
    requests = Requests(fake_janus(tmp_path / "fake", FakeBackend()), Recorder(clock))

    def waste() -> None:
        ticks.append([clock() for _ in range(50)])

    found = requests.paint("a red fox", 1, 1, 4, 0, waste)
    assert len(ticks) == 4
    assert [step.parts["host"] for step in found.steps] == [5 * TICK] * 3
    assert found.stages["request"][0] < 50 * TICK


@pytest.mark.parametrize(("parallel", "prompts"), [(1, 1), (4, 1), (4, 2), ("auto", 1)])
def test_several_codes_a_pass(
    requests: Requests, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, parallel: Any,
    prompts: int,
) -> None:  # fmt: skip
    """A step is a pass of the loop that users run, where it began; what passes cost for 'auto' is
    measured once, and is in no figure."""
    measured: list[Any] = []

    def costs(bundle: Any, measuring: Any, threads: int) -> dict[int, float]:
        measured.append((measuring, threads))
        return {1: 1.0, 4: 1.0}

    monkeypatch.setattr("janus_edge.bench.requests.pass_costs", costs)
    for _ in range(2):
        found = requests.paint("a red fox", prompts, 1, 9, 3, lambda: None, parallel)
    assert measured == [(backend, 0)] * (parallel == "auto")
    assert {s.width for s in found.steps} <= {1, 4}
    assert {s.parts["language_model"] for s in found.steps} == {TICK}
    assert found.stages["prefill"] == [TICK]
    plain = fake_janus(requests._timed.bundle.file("."), FakeBackend())
    policy: Any = 4 if parallel == "auto" else parallel
    begins, last = {}, None
    for last in plain.generate_steps(["a red fox"] * prompts, 1, 3, parallel=policy):
        if last.step >= 9:
            break
        begins[last.passes] = found.prompt_tokens + last.step - 1
    assert last is not None
    assert (len(found.steps), found.drawn) == (last.passes, last.step)
    assert {n: found.steps[n].position for n in begins} == begins


def test_several_codes_a_pass_stop_at_the_codes_that_were_asked_for(requests: Requests) -> None:
    """Or at those that the last pass gained besides, less than its width."""
    ticks: list[int] = []
    found = requests.paint("a red fox", 1, 1, 7, 3, lambda: ticks.append(1), 4)
    assert 7 <= found.drawn <= 7 + 3
    assert len(ticks) == 7
    assert found.binding is not None
    assert found.binding.new == 4


def test_a_backend_with_its_own_loop(tmp_path: Path) -> None:
    """Each code of its loop is a step; rows and the cache are those of the request."""

    class Painter(FakeBackend):
        fetch_every = 2

        def image_codes(self, config: Any, request: ImageRequest) -> Iterator[Any]:
            yield from image_codes(config, FakeBackend(), request)

    timed = timed_backend(Painter(), Recorder(ticking(TICK)))
    assert isinstance(timed, TimedPainter)
    assert not isinstance(timed_backend(FakeBackend(), Recorder()), TimedPainter)
    janus = fake_janus(tmp_path / "fake", FakeBackend())
    ids = text_to_image_ids(janus.tokenizer, "a red fox")
    rows = janus.text_embeddings(ids), janus.text_embeddings(ids)
    request = ImageRequest([rows], [0], [3], [0], 5.0, 1.0)
    codes = np.array([*timed.image_codes(CONFIG, request)])
    assert np.array_equal(codes, [*image_codes(CONFIG, FakeBackend(), request)])
    requests = Requests(fake_janus(tmp_path / "fake", Painter()), Recorder(ticking(TICK)))
    events = requests._backend
    assert isinstance(events, TimedPainter)
    codes = [*events.image_codes(CONFIG, request)]
    begin = timeline("image", 0, 10**9, requests._recorder.take())
    found = requests._painted(begin, "a red fox", 2, events.every)
    assert len(codes) == len(found.steps) + 1
    assert (found.prompt_tokens, found.steps[0].position) == (len(ids), len(ids))
    assert found.binding is not None
    assert found.binding.rows == 2
    lm = CONFIG.language
    assert found.binding.position_bytes == 2 * lm.layers * 2 * lm.kv_heads * lm.head_dim * 4
    assert {s.parts["painted_step"] for s in found.steps} == {TICK}
    assert "prefill" not in found.stages


def test_closing(backend: FakeBackend) -> None:
    """The backend behind the wrapper is closed, and graphs are opened again afterwards."""
    recorder = Recorder(ticking())
    timed = TimedBackend(backend, recorder)
    timed.session(Graph.IMAGE_HEAD)
    assert timed.session(Graph.IMAGE_HEAD) is timed.session(Graph.IMAGE_HEAD)
    assert [e.detail for e in recorder.take()] == ["image_head"]
    timed.close()
    assert backend.closed
    timed.session(Graph.IMAGE_HEAD)
    assert [e.what for e in recorder.take()] == ["open"]
    assert recorder.take() == ()
