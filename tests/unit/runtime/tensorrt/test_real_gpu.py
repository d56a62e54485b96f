"""Engines that TensorRT and TensorRT-RTX build, on the GPU that they were built for."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from janus_edge.bundle import Bundle
from janus_edge.cuda_driver import first_gpu, why_no_gpu
from janus_edge.engine import Engine
from janus_edge.engines.build import build_engine
from janus_edge.engines.tensorrt_target import TensorRTTarget
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import open_backend

NO_GPU = why_no_gpu()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(NO_GPU is not None, reason=f"no GPU: {NO_GPU}"),
]

PROFILE = "rows=2:8,prefill=16:64,capacity=256"


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """A bundle of the dimensions 'tiny': the one that gpu-check prepared, or exported now."""
    prepared = os.environ.get("JANUS_EDGE_TINY_BUNDLE")
    found: Path = Path(prepared) if prepared else request.getfixturevalue("tiny_bundle")
    return found


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt-rtx"])
def engine(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Engine:
    """``folder`` built here, in float32."""
    module = request.param.replace("-", "_")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{request.param} is not installed")
    bundle = Bundle.open(folder)
    capabilities = [first_gpu().compute_capability] if request.param == "tensorrt-rtx" else []
    target = TensorRTTarget(
        request.param, bundle.manifest.config, profile=PROFILE, capabilities=capabilities
    )
    return build_engine(bundle, target, tmp_path_factory.mktemp("engine") / "tiny").engine


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_pictures_and_answers(engine: Engine, folder: Path, cuda_graph: bool) -> None:
    """Float32 on the GPU draws the codes and says the words of the CPU, with and without a CUDA
    graph, of one picture and of several."""
    with (
        Janus.load(folder) as cpu,
        Janus(engine, open_backend(engine, cuda_graph=cuda_graph)) as gpu,
    ):
        for prompts, count in ((["a cat", "a small red house by a lake"], 2), (["a fox"], 1)):
            ours, theirs = (
                [picture.codes.tolist() for picture in janus.generate(prompts, count, seed=9)]
                for janus in (gpu, cpu)
            )
            assert ours == theirs
        picture = cpu.generate("a fox")[0].image
        said = [
            janus.describe(picture, "What is this?", max_new_tokens=8).token_ids
            for janus in (cpu, gpu)
        ]
        assert said[0] == said[1]
