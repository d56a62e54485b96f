"""Write bundles with random weights at the dimensions of a published model, for times only.

    python -m benchmarks.gpu_check.random_bundles FOLDER [--dimensions 1b] [--precisions fp16,int8]

Writes FOLDER/1b-fp16, 1b-int8 and 1b-int4-weight. No checkpoint is written, nothing is compared with
PyTorch and nothing is calibrated: 8-bit inputs get the range of random numbers. The rows of a weight
repeat, so `tar czf` turns gigabytes into megabytes for a machine that cannot make the bundles itself.
Pictures are noise.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_check.random_models import PRECISIONS
from janus_edge import __version__
from janus_edge.bundle import Bundle
from janus_edge.bundle_writer import BundleWriter
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.operands import operands
from janus_edge.calib.recipes import Changes, quantised_recipe
from janus_edge.calib.statistics import InputStatistics
from janus_edge.config import JanusConfig
from janus_edge.errors import JanusEdgeError
from janus_edge.export.graph_modules import build_module
from janus_edge.export.synthetic import DIMENSIONS, draw_weight
from janus_edge.export.synthetic_tokenizer import build_tokenizer, special_tokens
from janus_edge.export.trace import trace
from janus_edge.export.weight_names import expected_shapes
from janus_edge.export.weights import attach_weights, save_graph
from janus_edge.graphs import Graph, signature
from janus_edge.manifest import SCHEMA_VERSION, GraphEntry, Manifest, Source, TableEntry
from janus_edge.recipe import recipe

_FLOAT = "float16"

#: Number of random values in a weight before its rows repeat.
_DRAWN = 4096

#: Rows of random inputs that replace a calibration.
_ROWS = 64

#: Settings that TensorRT takes and that need no calibration.
_CHANGES = {
    "int8": Changes(inputs="maximum", scaling="none"),
    "int4-weight": Changes(block=128, symmetric=True, scaling="none", gptq=False),
}


class RandomCheckpoint:
    """A checkpoint for the exporter whose weights are drawn when they are read."""

    def __init__(self, config: JanusConfig) -> None:
        self.config, self._shapes = config, expected_shapes(config)

    def tensor(self, name: str) -> Tensor:
        """Return a weight whose first rows are random and then repeat."""
        shape = self._shapes[name]
        rows = max(1, min(shape[0], _DRAWN // math.prod(shape[1:])))
        if len(shape) == 1:
            return draw_weight(name, shape, torch.float16, 0)
        drawn = draw_weight(name, (rows, *shape[1:]), torch.float16, 0)
        repeats = -(-shape[0] // rows)
        return drawn.repeat(repeats, *[1] * (len(shape) - 1))[: shape[0]]


def write_float(config: JanusConfig, name: str, folder: Path) -> Bundle:
    """Write a float16 bundle of ``config`` to ``folder``."""
    checkpoint = RandomCheckpoint(config)
    with BundleWriter(folder) as writer:
        (writer.folder / "graphs").mkdir()
        graphs = {g.value: _write_graph(g, checkpoint, writer.folder) for g in Graph}
        table = checkpoint.tensor("model.language_model.embed_tokens.weight").numpy()
        (writer.folder / "text_embeddings.bin").write_bytes(table.tobytes())
        build_tokenizer(config.language.vocab_size).save(str(writer.folder / "tokenizer.json"))
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            config=config,
            special_tokens=special_tokens(config.language.vocab_size),
            recipe=recipe("fp16"),
            graphs=graphs,
            tokenizer="tokenizer.json",
            text_embeddings=TableEntry("text_embeddings.bin", _FLOAT, table.shape),
            source=Source(f"random-{name}", "none", hashlib.sha256(name.encode()).hexdigest()),
            tools={"janus-edge": __version__, "torch": torch.__version__},
            parity={},
        )
        return writer.seal(manifest)


def _write_graph(graph: Graph, checkpoint: RandomCheckpoint, folder: Path) -> GraphEntry:
    ports, dtype = signature(graph, checkpoint.config), torch.float16
    model = trace(
        lambda: build_module(graph, checkpoint.config, dtype), ports, dtype, name=graph.value
    )
    attach_weights(model, graph, checkpoint)  # type: ignore[arg-type]
    path = folder / "graphs" / f"{graph.value}.onnx"
    weights = tuple(f"graphs/{file.name}" for file in save_graph(model, path))
    return GraphEntry(f"graphs/{path.name}", weights, ports.inputs, ports.outputs)


def write_quantised(parent: Bundle, precision: str, folder: Path) -> Bundle:
    """Write ``parent`` in another precision to ``folder``."""
    made = quantised_recipe(precision, _FLOAT, _CHANGES[precision])
    ranges = None
    if precision == "int8":
        ranges = folder.with_name(f"{folder.name}-ranges.npz")
        _ranges(parent).save(ranges)
    try:
        return quantise_bundle(parent, folder, made, ranges)[0]
    finally:
        if ranges:
            ranges.unlink()


def _ranges(parent: Bundle) -> Calibration:
    """Return statistics of random numbers for the input of every operand."""
    graphs: dict[str, dict[str, InputStatistics]] = {}
    generator = np.random.default_rng(0)
    for graph in Graph:
        for operand in operands(parent.graph(graph)):
            own = graphs.setdefault(graph.value, {})
            if operand.input not in own:
                own[operand.input] = InputStatistics(operand.channels, axis=operand.axis)
                shape = (_ROWS, operand.channels, *([1, 1] if operand.axis == 1 else []))
                own[operand.input].add(generator.normal(0, 2, shape).astype(np.float32))
    return Calibration(parent.digest, graphs, counts={"done": 1, "items": 1})


def main(arguments: Sequence[str]) -> int:
    """Write the missing bundles and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dimensions", choices=sorted(DIMENSIONS), default="1b")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    given = parser.parse_args(arguments)
    name, precisions = given.dimensions, given.precisions.split(",")
    for precision in precisions:
        if precision not in PRECISIONS:
            parser.error(f"--precisions: {precision!r} is not one of {', '.join(PRECISIONS)}")
    try:
        path = given.folder / f"{name}-fp16"
        base = (
            Bundle.open(path, verify=False)
            if path.is_dir()
            else write_float(DIMENSIONS[name], name, path)
        )
        for precision in precisions:
            own = given.folder / f"{name}-{precision}"
            if not own.is_dir():
                write_quantised(base, precision, own)
    except JanusEdgeError as wrong:
        print(f"janus-edge: error: {wrong}", file=sys.stderr)
        return wrong.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
