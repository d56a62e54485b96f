"""The target `ort-cuda`: what is rewritten, that every node has a kernel, and that it computes the same.

No GPU is asked for: graphs run on the CPU here, which has all of their operators, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from janus_edge.bundle import Bundle
from janus_edge.engine import Engine
from janus_edge.engine_manifest import PassReport
from janus_edge.engines.build import build_engine
from janus_edge.engines.lowering import lower_opset, primitive_group_norm, shapes_on_device
from janus_edge.engines.lowering.passes import Outcome, Pass
from janus_edge.engines.ort_cuda import OrtCuda
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph
from janus_edge.recipe import RECIPES, Recipe, Rule, Scheme
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import OrtCpuBackend
from tests.unit.cli.conftest import Run
from tests.unit.engines.conftest import INT4
from tests.unit.engines.ort_cuda_kernels import ON_THE_HOST, has_kernel

VQ_PASSES = ("group_norm", "primitive_attention", "lower_opset")


def nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """All nodes; graphs inside would be control flow, which a CUDA graph cannot hold."""
    for node in graph:
        assert not any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values())
        yield node


def strangers(engine: Engine) -> list[str]:
    """Nodes that have no kernel, and readers of shapes that would be on the CPU."""
    wrong = []
    for graph in Graph:
        model = ir.load(engine.graph(graph))
        for node in nodes(model.graph):
            if not has_kernel(node, model.opset_imports[""]):
                wrong.append(f"{graph.value}: {node.op_type}")
            if node.op_type == "Shape":
                readers = {(use.node.op_type, use.idx) for use in node.outputs[0].uses()}
                wrong += [f"{graph.value}: {one} reads a shape" for one in readers - ON_THE_HOST]
    return wrong


def test_an_engine_computes_what_its_bundle_does(precision_bundle: Path, tmp_path: Path) -> None:
    """Code by code and token by token, for one picture and for several of several prompts; and every
    node has a kernel on the GPU."""
    engine = build_engine(Bundle.open(precision_bundle), OrtCuda(), tmp_path / "e").engine
    layers = engine.manifest.config.language.layers
    passes = engine.manifest.builds["language_model"].passes
    assert passes["shapes_on_device"] == PassReport(4 * layers + 2)
    assert passes["skip_norm"].changed == 2 * layers
    assert passes["joined_projections"].changed == 2 * layers
    assert (engine.manifest.target, engine.manifest.compute_capability) == ("ort-cuda", None)
    assert strangers(engine) == []
    other = Janus(engine, OrtCpuBackend(engine, threads=1))
    with Janus.load(precision_bundle, threads=1) as janus, other:
        for arguments in (("a red fox",), (["a red fox", "a small blue square on a table"], 2, 3)):
            pictures = [j.generate(*arguments) for j in (janus, other)]  # type: ignore[arg-type]
            codes = [np.array([p.codes for p in painted]) for painted in pictures]
            np.testing.assert_array_equal(*codes)
        seen = [np.array([p.image for p in painted], np.int16) for painted in pictures]
        assert np.abs(seen[0] - seen[1]).max() <= 1  # a norm and an attention sum in another order
        photo = pictures[0][0].image
        answers = [j.describe(photo, "What is this?", max_new_tokens=8) for j in (janus, other)]
        assert answers[0].token_ids == answers[1].token_ids
        np.testing.assert_array_equal(janus.encode(photo), other.encode(photo))


def test_float16(half_bundle: Path, tmp_path: Path) -> None:
    """Every node of a float16 engine has a kernel on the GPU."""
    engine = build_engine(Bundle.open(half_bundle), OrtCuda(), tmp_path / "e").engine
    assert engine.manifest.recipe.float_type == "float16"
    assert strangers(engine) == []


def without(*names: str) -> type[OrtCuda]:
    """The target without the work of some passes."""

    class Lacking(OrtCuda):
        def passes(self, graph: Graph, recipe: Recipe) -> tuple[Pass, ...]:
            return tuple(
                Pass(p.name, lambda _: Outcome(0), expected=False) if p.name in names else p
                for p in super().passes(graph, recipe)
            )

    return Lacking


@pytest.mark.parametrize(
    ("passes", "stranger"),
    [
        (("shapes_on_device",), "language_model: ('Squeeze', 0) reads a shape"),
        (("lower_opset",), "vq_decoder: InstanceNormalization"),
        (VQ_PASSES, "vq_decoder: GroupNormalization"),
    ],
)
def test_each_pass_is_needed(
    tiny_bundle: Path, tmp_path: Path, passes: tuple[str, ...], stranger: str
) -> None:
    """Without it there are nodes that the GPU has no kernel for, or that go to the CPU."""
    target = without(*passes)()
    engine = build_engine(Bundle.open(tiny_bundle), target, tmp_path / "e").engine
    assert stranger in strangers(engine)


def test_passes_by_graph() -> None:
    """The same for every recipe; graphs around the models stay as they are."""
    int8 = Recipe("r", "float32", (Rule("*", Scheme("int8", inputs="maximum")),))
    for recipe in (RECIPES["fp16"], INT4, int8):
        found = {graph: [p.rewrite for p in OrtCuda().passes(graph, recipe)] for graph in Graph}
        assert shapes_on_device.rewrite in found[Graph.LANGUAGE_MODEL]
        assert found[Graph.VQ_DECODER][0] == primitive_group_norm.rewrite
        assert found[Graph.VQ_DECODER][-1] == lower_opset.rewrite
        assert found[Graph.GUIDED_SAMPLER] == []


def test_bfloat16_is_refused_with_the_fix() -> None:
    bundle: Any = SimpleNamespace(path=Path("b"), manifest=SimpleNamespace(recipe=RECIPES["bf16"]))
    with pytest.raises(
        EngineError, match=r"b: .*bfloat16.* --precision fp16 \(or fp32\) for ort-c"
    ):
        OrtCuda().check(bundle)
    OrtCuda().check(SimpleNamespace(manifest=SimpleNamespace(recipe=RECIPES["fp16"])))  # type: ignore[arg-type]


def test_the_command(janus_edge: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    """It builds on a machine without a GPU, and takes none of TensorRT's options."""
    done = janus_edge("build", tiny_bundle, tmp_path / "e", "--target", "ort-cuda", "--no-cache")
    assert done.code == 0
    assert "MiB, ort-cuda; built in " in done.out
    refused = janus_edge(
        "build", tiny_bundle, tmp_path / "f", "--target", "ort-cuda", "--profile", "rows=2"
    )
    assert refused.code == 2
    assert "--profile is for TensorRT: leave it out for ort-cuda" in refused.err
