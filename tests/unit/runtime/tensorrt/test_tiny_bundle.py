"""The tiny model on the fake driver, with plans computed from what NVIDIA's parser made of its graphs.

The loops of the TensorRT backend must equal the CPU backend, code for code in float32. Without
tensorrt-rtx the tests are skipped: nothing replaces its parser.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip(
    "tensorrt_rtx", reason="tensorrt-rtx is not installed: its parser makes what plans compute"
)

from janus_edge.bundle import Bundle
from janus_edge.engine_manifest import Range
from janus_edge.engines.build import build_engine
from janus_edge.engines.tensorrt.profiles import Profile
from janus_edge.runtime.pipeline import Janus
from tests.unit.runtime.tensorrt.engines import FakeTarget, Machine, install

ONE = Range(1, 1, 1)


#: Target -> the fake's version of TensorRT.
VERSIONS = {"tensorrt": "10.16", "tensorrt-10.3": "10.3"}
PLANS = {
    "one plan": {"capacity": 256},
    "two plans": {"capacity": 64, "chat": 256},
    "split plans": {"capacity": 64, "chat": 256, "split": True, "window": None},
}
ENGINES = [*(("tensorrt", plans) for plans in PLANS), ("tensorrt-10.3", "two plans")]


@pytest.fixture(scope="module", params=ENGINES, ids=" ".join)
def built(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the target and the plans of the language model that it builds."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture(scope="module")
def engine(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, built: tuple[str, str]
) -> Path:
    """Build ``tiny_bundle`` into the plans of its target."""
    bundle, (name, plans) = Bundle.open(tiny_bundle), built
    profile = Profile(Range(1, 2, 8), Range(1, 64, 64), 256, Range(1, 1, 4), ONE, Range(1, 4, 8))
    profile = replace(profile, **PLANS[plans])  # type: ignore[arg-type]
    versions = {"tensorrt": {"10.3": "10.3.0"}.get(VERSIONS[name], "10.16.1")}
    fake = FakeTarget(
        bundle.manifest.config, name=name, profile=profile, versions=versions, real=True
    )
    out = tmp_path_factory.mktemp("engine") / "tiny"
    return build_engine(bundle, fake, out).engine.path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, built: tuple[str, str]) -> Machine:
    return install(monkeypatch, version=VERSIONS[built[0]])


@pytest.fixture
def both(engine: Path, tiny_bundle: Path, machine: Machine) -> Iterator[tuple[Janus, Janus]]:
    with Janus.load(tiny_bundle, threads=1) as cpu, Janus.load(engine) as gpu:
        yield cpu, gpu
    assert machine.driver.live() == {}


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (25, 40, 3), np.uint8))


def check_pixels(found: Image.Image, wanted: Image.Image) -> None:
    """Sums in two orders differ by 5e-6 of 3. This shows where values are cut to 255 levels: one number in
    a thousand may be one level off."""
    apart = np.abs(np.asarray(found, np.int16) - np.asarray(wanted, np.int16))
    assert apart.max() <= 1
    assert apart.sum() <= apart.size / 200


def test_pictures(both: tuple[Janus, Janus], machine: Machine) -> None:
    """Codes are equal for several prompts at once and for several pictures of one; pixels nearly are."""
    for prompts, count in ((["a cat", "a small red house by a lake"], 2), ("a fox", 1)):
        cpu, gpu = (
            janus.generate(prompts, count, seed=9, guidance_scale=3, temperature=0.8)
            for janus in both
        )
        for ours, theirs in zip(gpu, cpu, strict=True):
            assert ours.codes.tolist() == theirs.codes.tolist()
            check_pixels(ours.image, theirs.image)
    total = both[0].bundle.manifest.config.image_tokens
    assert machine.driver.calls["cuGraphLaunch"] == 2 * (total - 2)


@pytest.mark.parametrize("parallel", [4, 8])
def test_parallel_decoding(both: tuple[Janus, Janus], parallel: int) -> None:
    """Windows of several codes a pass draw the codes of the sequential loop in fewer passes."""
    cpu, gpu = both
    wanted = cpu.generate(["a cat", "a small red house by a lake"], 1, seed=4, guidance_scale=3)
    *_, last = gpu.generate_steps(
        ["a cat", "a small red house by a lake"], 1, 4, 3, parallel=parallel
    )
    assert last.codes.tolist() == [picture.codes.tolist() for picture in wanted]
    assert last.passes < last.total - 1


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
    check_pixels(gpu.decode(codes), cpu.decode(codes))
    # sums in two orders: 2e-6 seen, of numbers up to 4
    np.testing.assert_allclose(gpu.embed(photo()), cpu.embed(photo()), rtol=0, atol=1e-5)
