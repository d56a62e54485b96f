"""From a checkpoint to a bundle."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import onnx
import torch

from janus_edge import __version__
from janus_edge.bundle import Bundle, files_below
from janus_edge.bundle_writer import BundleWriter
from janus_edge.errors import ExportError
from janus_edge.export.check import GraphChecker
from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.graph_modules import build_module
from janus_edge.export.trace import trace
from janus_edge.export.weights import attach_weights, save_graph, weight_bytes
from janus_edge.graphs import Graph, signature
from janus_edge.manifest import SCHEMA_VERSION, GraphEntry, Manifest, Source, TableEntry
from janus_edge.progress import Row, Task, silent
from janus_edge.recipe import Recipe

#: In this order the checks of the heads find the hidden states of the language model's.
_ORDER = (
    Graph.VISION_ENCODER, Graph.VQ_ENCODER, Graph.VQ_DECODER, Graph.IMAGE_EMBEDDING,
    Graph.LANGUAGE_MODEL, Graph.TEXT_HEAD, Graph.IMAGE_HEAD, Graph.GUIDED_SAMPLER,
)  # fmt: skip

_TABLE = "text_embeddings.bin"
_TABLE_PIECE_BYTES = 64 << 20


def export_bundle(
    checkpoint: Checkpoint,
    target: str | Path,
    recipe: Recipe,
    *,
    force: bool = False,
    task: Task | None = None,
) -> Bundle:
    """Write ``checkpoint`` as a bundle of ONNX graphs in the precision of ``recipe``.

    Peak memory is about one weight matrix in its old and new form (or one layer, while it is
    checked): it grows with the widest of them, not with the number of layers. Raises InputError when ``target`` exists (unless ``force``), ParityError when a
    graph differs from PyTorch beyond its tolerance; nothing is left behind then.
    """
    task = task or silent
    with BundleWriter(target, force=force) as writer:
        (writer.folder / "graphs").mkdir()
        checker = GraphChecker(checkpoint, recipe.float_type)
        graphs, parity = {}, {}
        for graph in _ORDER:
            path = writer.folder / "graphs" / f"{graph.value}.onnx"
            with task(graph.value) as row:
                graphs[graph.value] = _export_graph(graph, checkpoint, recipe, path, row)
                row.state("check")
                parity[graph.value] = checker.check(graph, path)
                row.state("agrees")
        with task("text embeddings") as row:
            table = _export_text_embeddings(checkpoint, recipe, writer.folder / _TABLE, row)
        shutil.copyfile(checkpoint.tokenizer_path, writer.folder / "tokenizer.json")
        with task("hashes") as row:
            row.state("checkpoint")
            manifest = Manifest(
                schema_version=SCHEMA_VERSION,
                config=checkpoint.config,
                special_tokens=checkpoint.special_tokens,
                recipe=recipe,
                graphs=graphs,
                tokenizer="tokenizer.json",
                text_embeddings=table,
                source=Source(checkpoint.name, checkpoint.format, checkpoint.digest()),
                tools=_tool_versions(),
                parity=parity,
            )
            row.state("bundle")
            row.begin(sum(p.stat().st_size for p in files_below(writer.folder)))
            return writer.seal(manifest, row.advance)


def _export_graph(
    graph: Graph, checkpoint: Checkpoint, recipe: Recipe, path: Path, row: Row
) -> GraphEntry:
    ports = signature(graph, checkpoint.config)
    dtype = getattr(torch, recipe.float_type)
    row.state("trace")
    model = trace(
        lambda: build_module(graph, checkpoint.config, dtype), ports, dtype, name=graph.value
    )
    attach_weights(model, graph, checkpoint)
    row.state("write")
    row.begin(weight_bytes(model))
    weights = save_graph(model, path, row.advance)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as invalid:
        raise ExportError(f"{graph.value}: not a valid ONNX model: {invalid}") from invalid
    folder = path.parent.parent
    names = tuple(str(w.relative_to(folder).as_posix()) for w in weights)
    return GraphEntry(path.relative_to(folder).as_posix(), names, ports.inputs, ports.outputs)


def _export_text_embeddings(
    checkpoint: Checkpoint, recipe: Recipe, path: Path, row: Row
) -> TableEntry:
    """Write the token embeddings as raw little-endian rows [V, H]."""
    source = checkpoint.tensor("model.language_model.embed_tokens.weight")
    dtype = getattr(torch, recipe.float_type)
    row.state("write")
    row.begin(source.numel() * recipe.bytes_per_float)
    rows = max(1, _TABLE_PIECE_BYTES // (source.shape[1] * recipe.bytes_per_float))
    with open(path, "wb") as out:
        for start in range(0, source.shape[0], rows):
            piece = source[start : start + rows].to(dtype).contiguous()
            out.write(piece.view(torch.uint8).numpy().data)
            row.advance(piece.nbytes)
    return TableEntry(path.name, recipe.float_type, tuple(source.shape))


def _tool_versions() -> dict[str, str]:
    tools = ("torch", "transformers", "onnx", "onnxscript", "onnx-ir", "onnxruntime")
    versions = {"janus-edge": __version__}
    for tool in tools:
        try:
            versions[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:  # e.g. onnxruntime-gpu in its place
            versions[tool] = "unknown"
    return versions
