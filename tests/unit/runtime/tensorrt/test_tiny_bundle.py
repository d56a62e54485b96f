"""A real miniature, its own graphs run by ONNX Runtime behind the fakes: what the CPU backend says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus_edge.bundle import Bundle
from janus_edge.engine_manifest import Range
from janus_edge.engines.build import build_engine
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.runtime.pipeline import Janus
from tests.unit.runtime.tensorrt.engines import FakeTarget, Machine, install

ONE = Range(1, 1, 1)


PLANS = {
    "one plan": {"capacity": 256},
    "two plans": {"capacity": 64, "chat": 256},
    "split plans": {"capacity": 64, "chat": 256, "split": True},
}
ENGINES = [*(("tensorrt", plans) for plans in PLANS), ("tensorrt-10.3", "two plans")]


@pytest.fixture(scope="module", params=ENGINES, ids=" ".join)
def engine(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """``tiny_bundle`` as plans that run its own graphs, or what `tensorrt-10.3` makes of them."""
    bundle = Bundle.open(tiny_bundle)
    name, plans = request.param
    profile = Profile(Range(1, 2, 8), Range(1, 64, 64), 256, Range(1, 1, 4), ONE)
    profile = replace(profile, **PLANS[plans])  # type: ignore[arg-type]
    target = FakeTarget(bundle.manifest.config, name, profile=profile, real=True)
    out = tmp_path_factory.mktemp("engine") / "tiny"
    return build_engine(bundle, target, out).engine.path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return install(monkeypatch)


@pytest.fixture
def both(engine: Path, tiny_bundle: Path, machine: Machine) -> Iterator[tuple[Janus, Janus]]:
    with Janus.load(tiny_bundle, threads=1) as cpu, Janus.load(engine) as gpu:
        yield cpu, gpu
    assert machine.driver.live() == {}


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (25, 40, 3), np.uint8))


def test_pictures(both: tuple[Janus, Janus], machine: Machine) -> None:
    """Codes and pixels are the same, of several prompts at once and of several pictures of one; a
    lowered decoder may round a pixel to the level beside it."""
    off = 1 if both[1].bundle.manifest.target == "tensorrt-10.3" else 0
    for prompts, count in ((["a cat", "a small red house by a lake"], 2), ("a fox", 1)):
        cpu, gpu = (
            janus.generate(prompts, count, seed=9, guidance_scale=3, temperature=0.8)
            for janus in both
        )
        for ours, theirs in zip(gpu, cpu, strict=True):
            assert ours.codes.tolist() == theirs.codes.tolist()
            pixels = [np.asarray(picture.image, np.int64) for picture in (ours, theirs)]
            np.testing.assert_allclose(*pixels, rtol=0, atol=off)
    total = both[0].bundle.manifest.config.image_tokens
    assert machine.driver.calls["cuGraphLaunch"] == 2 * (total - 2)


def test_answers(both: tuple[Janus, Janus]) -> None:
    """The same pieces of text, of a question about a picture and of a conversation."""
    said = []
    for janus in both:
        pieces = [*janus.describe(photo(), "What is this?", max_new_tokens=8, stream=True)]
        chat = janus.chat(capacity=256)
        answers = [
            chat.ask(*asked, max_new_tokens=6, temperature=0.7).token_ids
            for asked in (("one?", photo()), ("two?",))
        ]
        said.append((pieces, answers))
    assert said[0] == said[1]


def test_the_other_graphs(both: tuple[Janus, Janus]) -> None:
    """Codes of a picture and back, and its embeddings."""
    cpu, gpu = both
    codes = cpu.encode(photo())
    assert gpu.encode(photo()).tolist() == codes.tolist()
    assert gpu.decode(codes).tobytes() == cpu.decode(codes).tobytes()
    np.testing.assert_array_equal(gpu.embed(photo()), cpu.embed(photo()))
