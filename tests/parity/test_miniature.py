"""The shipped miniature: equal to PyTorch code by code, and as good as it is said to be."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from janus_edge.evaluation import Options, Report, evaluate
from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.record import record_trace
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.replay import replay

#: The committed figures are of a hundred prompts each; here a few must be clearly above chance.
SMALL = Options(guidance_scales=(3.0,), prompts=4, questions=8, scenes=10, seed=77)


@pytest.fixture(scope="module")
def report(miniature_bundle: Path) -> Report:
    with Janus.load(miniature_bundle) as janus:
        return evaluate(janus, SMALL)


def test_the_whole_picture_equals_pytorch(miniature_bundle: Path) -> None:
    """256 codes under guidance, drawn with the same noise, are PyTorch's."""
    checkpoint = Checkpoint.open("miniature")
    photograph = resources.files("janus_edge") / "assets" / "astronaut.jpg"
    with resources.as_file(photograph) as image, Janus.load(miniature_bundle) as janus:
        trace = record_trace(
            checkpoint, image, "a red star and a blue circle", steps=256, seed=5,
            guidance_scale=3.0, temperature=1.0, progress=lambda step: None,
        )  # fmt: skip
        found = replay(janus, trace)
    assert found
    assert found.equal_codes == 256


def test_it_paints_what_it_is_told(report: Report) -> None:
    """Untrained it would never be right: a picture of noise shows no prompt."""
    assert report.painting is not None
    assert report.painting.best.overall.share > 0.5


def test_it_answers(report: Report) -> None:
    """Guessing the commonest answer would be right in less than half of the questions."""
    assert report.understanding is not None
    assert report.understanding.overall.share > 0.75


def test_it_reconstructs(report: Report) -> None:
    """Codes hold what a scene shows."""
    assert report.reconstruction is not None
    assert report.reconstruction.mean_psnr_db > 30
    assert report.reconstruction.legible.share >= 0.9


def test_its_size() -> None:
    """Small enough to be shipped: at most 15 MB, in half precision."""
    folder = resources.files("janus_edge") / "miniature"
    sizes = [len(part.read_bytes()) for part in folder.iterdir()]
    assert sum(sizes) <= 15_000_000
    assert {part.name for part in folder.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip
