"""Painting and answering through bindings of the device, on the CPU's memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.engine import Engine
from janus_edge.errors import BackendError, CapacityError
from janus_edge.graphs import Graph
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.ort_cuda import backend as backend_module
from janus_edge.runtime.ort_cuda.backend import OrtCudaBackend
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import OrtCpuBackend
from tests.unit.int8_cache import int8_cache_bundle
from tests.unit.runtime.ort_cuda.fake_onnxruntime import FakeOnnxRuntime

PAINTINGS: list[tuple[Any, ...]] = [
    ("a red fox", 1, 3),
    (["a red fox", "a small blue square on a table"], 2, 3),
    ("a red fox", 2, 0, 5.0, 0.0),
]


@pytest.fixture(scope="module")
def plain(tiny_bundle: Path) -> Iterator[Janus]:
    """The bundle on the ordinary CPU sessions, all opened before a test exchanges ONNX Runtime."""
    with Janus.load(tiny_bundle, threads=1) as janus:
        for graph in Graph:
            janus.backend.session(graph)
        yield janus


def codes(janus: Janus, *arguments: Any, **options: Any) -> list[list[int]]:
    return [picture.codes.tolist() for picture in janus.generate(*arguments, **options)]


@pytest.mark.parametrize("arguments", PAINTINGS)
def test_codes(engine: Engine, plain: Janus, arguments: tuple[Any, ...]) -> None:
    """Code by code those of the loop over CPU sessions: one picture, several of several prompts, and
    no noise."""
    backend = OrtCudaBackend(engine, device="cpu")
    with Janus(engine, backend) as janus:
        assert codes(janus, *arguments) == codes(plain, *arguments)


def test_windows_answers_and_images(engine: Engine, plain: Janus) -> None:
    """What goes through sessions on arrays, with the cache on the device: windows of several codes,
    a conversation, an image's codes and its picture."""
    with Janus(engine, OrtCudaBackend(engine, device="cpu")) as janus:
        painted = [codes(j, ["a fox", "two"], 2, 3, parallel=4) for j in (janus, plain)]
        assert painted[0] == painted[1]
        photo = plain.generate("a fox")[0].image
        said = []
        for one in (janus, plain):
            chat = one.chat(capacity=256)
            said.append(
                [
                    chat.ask("What is this?", photo, max_new_tokens=5).token_ids,
                    chat.ask("And now?", max_new_tokens=5).token_ids,
                ]
            )
        assert said[0] == said[1]
        np.testing.assert_array_equal(janus.encode(photo), plain.encode(photo))


def test_an_int8_cache(tiny_bundle: Path, tmp_path: Path) -> None:
    """Keys and values are integers on the device, too, of several pictures of one prompt."""
    from janus_edge.bundle import Bundle
    from janus_edge.engines.build import build_engine
    from janus_edge.engines.ort_cuda import OrtCuda

    path = int8_cache_bundle(tiny_bundle, tmp_path)
    engine = build_engine(Bundle.open(path), OrtCuda(), tmp_path / "e").engine
    backend = OrtCudaBackend(engine, device="cpu")
    assert backend.cache_dtype == np.int8
    with Janus.load(path, threads=1) as plain, Janus(engine, backend) as janus:
        assert codes(janus, "a red fox", 2, 3) == codes(plain, "a red fox", 2, 3)


STEPS = ("image_embedding", "language_model", "image_head", "guided_sampler")


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_captured_graphs(
    engine: Engine, plain: Janus, machine: FakeOnnxRuntime, *, cuda_graph: bool
) -> None:
    """A painting captures the graphs of its step, or replays those of one in the same places; prompts
    and answers are never captured. The same codes either way."""
    expected = codes(plain, "a red fox", 1, 3)
    backend = OrtCudaBackend(engine, cuda_graph=cuda_graph)
    with Janus(engine, backend) as janus:
        for _ in range(3):
            assert codes(janus, "a red fox", 1, 3) == expected
        photo = plain.generate("a fox")[0].image
        janus.describe(photo, "What?", max_new_tokens=3)
    for session in machine.opened:
        stepping = Path(session.path).stem in STEPS
        assert bool(session.captured) == (stepping and cuda_graph)
        assert len(session.captured) <= 3
    stepping = [session.captured for session in machine.opened if session.captured]
    assert len({frozenset(captured) for captured in stepping}) <= 1
    # one graph of a step may lie where it lay before while another does not
    steps = (
        [str([captured[number] for captured in stepping]) for number in stepping[0]]
        if stepping
        else []
    )
    assert len(set(steps)) == len(steps)


def test_steps_in_the_same_places_share_what_was_captured(engine: Engine) -> None:
    """An id belongs to places for good, and is not given to others."""
    backend = OrtCudaBackend(engine, device="cpu")
    assert [backend.graph_id(places) for places in ("a", "b", "a", "c")] == [1, 2, 1, 3]


def test_captured_graphs_do_not_pile_up(
    engine: Engine, plain: Janus, machine: FakeOnnxRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening the step's sessions anew frees them; a painting under way goes on with the same codes,
    and so does a conversation."""
    monkeypatch.setattr(backend_module, "MOST_CAPTURED", 1)
    expected = [codes(plain, "a red fox", 1, 3), codes(plain, "two", 2, 3)]
    with Janus(engine, OrtCudaBackend(engine)) as janus:
        chat, other = (one.chat(capacity=256) for one in (janus, plain))
        told = [one.ask("Who?", max_new_tokens=3).token_ids for one in (chat, other)]
        under_way = janus.generate_steps("a red fox", 1, 3)
        next(under_way)
        next(under_way)
        assert codes(janus, "two", 2, 3) == expected[1]
        *_, last = under_way
        assert [picture.codes.tolist() for picture in last.pictures] == expected[0]
        told += [one.ask("And now?", max_new_tokens=3).token_ids for one in (chat, other)]
    assert told[::2] == told[1::2]
    models = [s for s in machine.opened if Path(s.path).stem == "language_model"]
    assert len(models) == 2
    assert [len(session.captured) for session in models] == [1, 2]


def test_the_cache_stays_where_it_is(engine: Engine) -> None:
    """Past and present are one place on the device, and the arrays on the host are never touched."""
    backend, config = OrtCudaBackend(engine, device="cpu"), engine.manifest.config.language
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    cache = KVCache.of(backend, config, 2, 64)
    rows = [np.full((n, config.hidden_size), 0.5, np.float32) for n in (5, 3)]
    model.prefill(cache, rows)
    places = [array.twin.on_device(array.shape) for array in cache.buffers]  # type: ignore[union-attr]
    step = model.plan(cache, 1)
    step.inputs_embeds[:] = 0.25
    step.run()
    cache.lengths += 1
    assert [a.twin.on_device(a.shape) for a in cache.buffers] == places  # type: ignore[union-attr]
    for array, place in zip(cache.buffers, places, strict=True):
        assert not array.any()
        held = place.download()
        assert held[0, :, :6].any((0, 2)).all()
        assert not held[0, :, 6:].any()


def test_another_cache_of_its_rows(engine: Engine) -> None:
    """Rows go to a cache with more positions, in any order and several times."""
    backend, config = OrtCudaBackend(engine, device="cpu"), engine.manifest.config.language
    cpu = OrtCpuBackend(engine, threads=1)
    rng, hidden = np.random.default_rng(0), []
    rows = [rng.normal(size=(n, config.hidden_size)).astype(np.float32) for n in (5, 3)]
    new = rng.normal(size=(3, 2, config.hidden_size)).astype(np.float32)
    for one in (backend, cpu):
        model = LanguageModel(one.session(Graph.LANGUAGE_MODEL))
        cache = KVCache.of(one, config, 2, 64)
        model.prefill(cache, rows)
        other = cache.fan_out([1, 0, 1], 128).fan_out([2, 1, 0], 128)
        step = model.plan(other, 2)
        step.inputs_embeds[:] = new
        step.run()
        hidden.append(step.hidden_states.copy())
    np.testing.assert_array_equal(*hidden)


def test_a_full_cache(engine: Engine) -> None:
    """A row that runs out of positions is an error before anything is written: a kernel would put
    the new keys into the last position."""
    backend, config = OrtCudaBackend(engine, device="cpu"), engine.manifest.config.language
    cache = KVCache.of(backend, config, 1, 64)
    step = LanguageModel(backend.session(Graph.LANGUAGE_MODEL)).plan(cache, 1)
    cache.lengths[:] = 64
    with pytest.raises(CapacityError, match="1 new tokens after 64 do not fit the 64 positions"):
        step.run()


def test_wrong_arrays(engine: Engine) -> None:
    """Names, types and layouts that the graph has not are refused with the graph's file."""
    session = OrtCudaBackend(engine, device="cpu").session(Graph.IMAGE_EMBEDDING)
    size = engine.manifest.config.language.hidden_size
    made = {"inputs_embeds": np.zeros((2, 1, size), np.float32)}
    with pytest.raises(BackendError, match="image_embedding.onnx: "):
        session.bind({"codes": np.zeros(1, np.int64)}, made)()
    with pytest.raises(BackendError, match="image_embedding.onnx: "):
        session.bind({"image_codes": np.zeros(1, np.float32)}, made)()
    with pytest.raises(BackendError, match="cannot bind its buffers .image_codes: must be contig"):
        session.bind({"image_codes": np.zeros(4, np.int64)[::2]}, made)


def test_logits_that_are_not_finite(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, plain: Janus
) -> None:
    """An overflow is told with its step, not painted."""
    backend = OrtCudaBackend(engine, device="cpu")
    from janus_edge.runtime.ort_cuda.image_step import ImageStep

    logits = ImageStep.logits
    monkeypatch.setattr(ImageStep, "logits", lambda self: logits(self) * np.float32(np.inf))
    with (
        Janus(engine, backend) as janus,
        np.errstate(invalid="ignore"),
        pytest.raises(BackendError, match="image logits at step 1 are not finite"),
    ):
        janus.generate("a red fox")
