"""Several codes a pass, on ONNX Runtime: the codes of the sequential loop, bundle and engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_edge.bundle import Bundle
from janus_edge.engines.build import build_engine
from janus_edge.engines.targets import target
from janus_edge.runtime.picture import GenerationStep
from janus_edge.runtime.pipeline import Janus

PROMPTS = ["a red fox", "three green cats, and behind them a rather long train of wagons"]


@pytest.fixture(scope="module", params=["bundle", "engine"])
def janus(
    request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Janus:
    """The tiny model, and its ort-cpu engine, whose attention is another kernel."""
    path = tiny_bundle
    if request.param == "engine":
        path = tmp_path_factory.mktemp("engine") / "tiny"
        build_engine(Bundle.open(tiny_bundle), target("ort-cpu"), path)
    with Janus.load(path) as opened:
        yield opened  # type: ignore[misc]


@pytest.mark.parametrize(("width", "scale", "temperature"), [(4, 5.0, 1.0), (16, 2.0, 0.0)])
def test_same_codes(janus: Janus, width: int, scale: float, temperature: float) -> None:
    """Prompts of unequal length, two pictures each, which advance at their own pace."""

    def last(parallel: int | str) -> GenerationStep:
        *_, step = janus.generate_steps(PROMPTS, 2, 7, scale, temperature, parallel)  # type: ignore[arg-type]
        return step

    found, wanted = last(width), last("off")
    assert np.array_equal(found.codes, wanted.codes)
    assert found.passes <= wanted.passes == found.total - 1
