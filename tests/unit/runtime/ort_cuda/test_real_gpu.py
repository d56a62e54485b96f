"""Engines for ONNX Runtime's CUDA provider, on a GPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from janus_edge.bundle import Bundle
from janus_edge.cuda_driver import why_no_gpu
from janus_edge.engine import Engine
from janus_edge.engines.build import build_engine
from janus_edge.engines.ort_cuda import OrtCuda
from janus_edge.graphs import Graph
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import open_backend

NO_GPU = why_no_gpu()
NO_PROVIDER = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(NO_GPU is not None, reason=f"no GPU: {NO_GPU}"),
    pytest.mark.skipif(NO_PROVIDER, reason="the installed onnxruntime has no CUDA provider"),
]


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_pictures_and_answers(engine: Engine, tiny_bundle: Path, *, cuda_graph: bool) -> None:
    """Float32 on the GPU draws the codes and says the words of the CPU, with and without a CUDA
    graph, of one picture and of several, twice over."""
    with (
        Janus.load(tiny_bundle) as cpu,
        Janus(engine, open_backend(engine, cuda_graph=cuda_graph)) as gpu,
    ):
        for prompts, count in ((["a cat", "a small red house by a lake"], 2), (["a fox"], 1)):
            for seed in (9, 10):
                ours, theirs = (
                    [picture.codes.tolist() for picture in janus.generate(prompts, count, seed)]
                    for janus in (gpu, cpu)
                )
                assert ours == theirs
        picture = cpu.generate("a fox")[0].image
        said = [
            janus.describe(picture, "What is this?", max_new_tokens=8).token_ids
            for janus in (cpu, gpu)
        ]
        assert said[0] == said[1]


def test_every_graph_opens(tiny_bundle: Path, tmp_path: Path) -> None:
    """Every node of every graph has a kernel: without one a session does not open."""
    engine = build_engine(Bundle.open(tiny_bundle), OrtCuda(), tmp_path / "e").engine
    backend = open_backend(engine)
    for graph in Graph:
        backend.session(graph)
    backend.close()
