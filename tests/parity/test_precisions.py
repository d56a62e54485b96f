"""The gate of an export: half precision passes it, a wrong graph does not, and then nothing stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from janus_edge.bundle import MANIFEST, Bundle
from janus_edge.compare import TOLERANCE_DB
from janus_edge.errors import ParityError
from janus_edge.export.check import GraphChecker
from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.exporter import export_bundle
from janus_edge.export.graph_modules import build_module
from janus_edge.export.reference import Reference
from janus_edge.export.trace import trace
from janus_edge.export.weights import attach_weights, save_graph
from janus_edge.graphs import Graph, signature
from janus_edge.recipe import recipe

ONNX_TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "bfloat16": onnx.TensorProto.BFLOAT16,
}


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return Checkpoint.open(tiny_checkpoint)


def export_one(graph: Graph, checkpoint: Checkpoint, dtype: torch.dtype, folder: Path) -> Path:
    """Trace one graph, attach its weights and save it, as the exporter does."""
    ports, path = signature(graph, checkpoint.config), folder / f"{graph.value}.onnx"
    model = trace(
        lambda: build_module(graph, checkpoint.config, dtype), ports, dtype, name=graph.value
    )
    attach_weights(model, graph, checkpoint)
    save_graph(model, path)
    return path


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_passes_the_gate(
    checkpoint: Checkpoint, tmp_path: Path, precision: str
) -> None:
    """The language model, the image head and the sampler in half precision are within their
    tolerance of PyTorch in float32, and no better than rounding allows: they are not float32 in
    disguise."""
    chosen = recipe(precision)
    checker = GraphChecker(checkpoint, chosen.float_type)
    for graph in (Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD, Graph.GUIDED_SAMPLER):
        path = export_one(graph, checkpoint, getattr(torch, chosen.float_type), tmp_path)
        found = checker.check(graph, path)
        assert found, graph
        model = onnx.load(str(path), load_external_data=False)
        table = signature(graph, checkpoint.config)
        for value, port in zip(
            (*model.graph.input, *model.graph.output), (*table.inputs, *table.outputs), strict=True
        ):
            if port.dtype == "float":
                assert value.type.tensor_type.elem_type == ONNX_TYPES[chosen.float_type]
        if graph is Graph.GUIDED_SAMPLER:
            assert found.top1 == 1.0  # guidance is computed in float32 whatever the logits are
        elif precision == "fp16":
            assert found.snr_db is not None
            assert found.snr_db < TOLERANCE_DB["float32"]
        weights = [i for i in model.graph.initializer if i.name.endswith(".weight")]
        assert {i.data_type for i in weights} <= {ONNX_TYPES[chosen.float_type]}


@pytest.fixture
def copied(tiny_bundle: Path, tmp_path: Path) -> Callable[[Graph], Path]:
    """A copy of one float32 graph, with its weights."""

    def copy(graph: Graph) -> Path:
        for file in (tiny_bundle / "graphs").glob(f"{graph.value}.*"):
            shutil.copy(file, tmp_path)
        return tmp_path / f"{graph.value}.onnx"

    return copy


def alter(path: Path, name: str, part: tuple[slice | int, ...] = (slice(None), 0)) -> None:
    """Negate a part of a weight in the graph's external data: its first column, or ``part``."""
    model = onnx.load(str(path), load_external_data=False)
    (found,) = (i for i in model.graph.initializer if i.name == name)
    where = {entry.key: entry.value for entry in found.external_data}
    file = path.with_name(where["location"])
    values = np.memmap(file, "<f4", "r+", int(where["offset"]), tuple(found.dims))
    values[part] *= -1
    values.flush()


@pytest.mark.parametrize(
    ("graph", "weight"),
    [
        (Graph.IMAGE_EMBEDDING, "table"),
        (Graph.VISION_ENCODER, "vision_model.encoder.layers.1.self_attn.q_proj.weight"),
        (Graph.LANGUAGE_MODEL, "layers.0.self_attn.k_proj.weight"),
        (Graph.LANGUAGE_MODEL, "layers.1.mlp.down_proj.weight"),
        (Graph.VQ_ENCODER, "quant_conv.weight"),
        (Graph.VQ_DECODER, "codebook"),
    ],
)
def test_a_wrong_weight_fails_the_gate(
    checkpoint: Checkpoint, copied: Callable[[Graph], Path], graph: Graph, weight: str
) -> None:
    """A graph passes as it was exported; with one column of one weight negated it is a ParityError
    that names the graph, the figure and the tolerance."""
    path = copied(graph)
    assert GraphChecker(checkpoint, "float32").check(graph, path)
    alter(path, weight)
    with pytest.raises(ParityError, match=f"{graph.value} differs from PyTorch: .* tolerance"):
        GraphChecker(checkpoint, "float32").check(graph, path)


@pytest.mark.parametrize(
    ("graph", "table"),
    [(Graph.IMAGE_EMBEDDING, "table"), (Graph.LANGUAGE_MODEL, "rotary_sin")],
)
def test_every_row_of_a_table_counts(
    checkpoint: Checkpoint, copied: Callable[[Graph], Path], graph: Graph, table: str
) -> None:
    """One wrong row fails the gate, though no row of the check's own inputs would read it."""
    path = copied(graph)
    alter(path, table, (-1,))
    with pytest.raises(ParityError, match=graph.value):
        GraphChecker(checkpoint, "float32").check(graph, path)


@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_export_leaves_nothing(
    checkpoint: Checkpoint,
    copied_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    existing: bool,
) -> None:
    """An export whose check fails leaves no file and no folder; with --force the bundle that was
    there stays, whole."""
    right = Reference.image_embeds
    monkeypatch.setattr(Reference, "image_embeds", lambda *given: right(*given) * 1.01)
    target = copied_bundle if existing else copied_bundle.with_name("new")
    before = sorted(copied_bundle.parent.rglob("*"))
    manifest = (copied_bundle / MANIFEST).read_bytes()
    with pytest.raises(ParityError, match="vision_encoder differs from PyTorch"):
        export_bundle(checkpoint, target, recipe("fp32"), force=existing)
    assert sorted(copied_bundle.parent.rglob("*")) == before
    assert (copied_bundle / MANIFEST).read_bytes() == manifest
    Bundle.open(copied_bundle).verify()
