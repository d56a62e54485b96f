"""The language model's graph at any dimensions with random int4 weights, for measuring its step.

A checkpoint of the 1B's size and its float weights are never made: the graph is traced without
weights, and each matrix gets random integers and scales when it is written.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import torch

from janus_edge.calib.cache_quantizer import quantise_cache
from janus_edge.calib.cache_updates import cache_updates
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.operands import load_graph
from janus_edge.calib.statistics import InputStatistics
from janus_edge.config import JanusConfig
from janus_edge.engines.lowering.passes import save
from janus_edge.export.graph_modules import build_module
from janus_edge.export.modules.language_model import rotary_tables
from janus_edge.export.synthetic import DIMENSIONS
from janus_edge.export.trace import trace
from janus_edge.graphs import Graph, signature


def dimensions(name: str, layers: int) -> JanusConfig:
    config = DIMENSIONS[name]
    if not layers:
        return config
    return replace(config, language=replace(config.language, layers=layers))


def write(config: JanusConfig, path: Path, *, block: int, int8_cache: bool) -> Path:
    """The canonical graph with symmetric int4 weights in blocks, and its weights beside it."""
    ports, dtype = signature(Graph.LANGUAGE_MODEL, config), torch.float32
    model = trace(
        lambda: build_module(Graph.LANGUAGE_MODEL, config, dtype),
        ports,
        dtype,
        name="language_model",
    )
    tables = dict(zip(("rotary_cos", "rotary_sin"), rotary_tables(config.language), strict=True))
    for name, value in list(model.graph.initializers.items()):
        if value.const_value is not None:
            continue
        assert value.shape is not None
        shape = tuple(int(size) for size in value.shape.numpy())
        if name in tables:
            value.const_value = ir.tensor(tables[name].numpy(), name=name)
        elif len(shape) == 2:
            _quantise(model.graph, value, shape, block)
        else:
            value.const_value = ir.tensor(np.ones(shape, np.float32), name=name)
    model.graph.sort()
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, path)
    if int8_cache:
        quantise_cache(path, _calibration(path))
    return path


def _quantise(graph: ir.Graph, value: ir.Value, shape: tuple[int, ...], block: int) -> None:
    rows, columns = shape
    name, seed = str(value.name), zlib.crc32(str(value.name).encode())

    def integers() -> ir.TensorProtocol:
        drawn = np.random.default_rng(seed).integers(-7, 8, shape, np.int8)
        return ir.Tensor(drawn.astype(ml_dtypes.int4), dtype=ir.DataType.INT4)

    # so that a layer's outputs have the size of its inputs
    scale = np.full((-(-rows // block), columns), 1 / (4.3 * rows**0.5), np.float32)
    constants = [
        ir.Value(
            name=f"{name}.quantized", type=ir.TensorType(ir.DataType.INT4), shape=ir.Shape(shape),
            const_value=ir.LazyTensor(integers, ir.DataType.INT4, ir.Shape(shape), name=name),
        ),
        ir.Value(
            name=f"{name}.scale", type=ir.TensorType(ir.DataType.FLOAT),
            shape=ir.Shape(scale.shape), const_value=ir.tensor(scale, name=f"{name}.scale"),
        ),
    ]  # fmt: skip
    for constant in constants:
        graph.register_initializer(constant)
    node = ir.node(
        "DequantizeLinear", constants, {"axis": 0, "block_size": block},
        name=f"{name}/DequantizeLinear",
        outputs=[ir.Value(name=f"{name}.dequantized", type=value.type, shape=value.shape)],
    )  # fmt: skip
    graph.insert_before(graph[0], node)
    ir.convenience.replace_all_uses_with(value, node.outputs[0])
    graph.initializers.pop(name)


def _calibration(path: Path) -> Calibration:
    """Ranges of values around 1, as these weights give them."""
    found = {}
    for update in cache_updates(load_graph(path).graph):
        found[update.new] = InputStatistics(update.heads * update.head_size)
        found[update.new].channel_maximum[:] = 6.0
    return Calibration("", {Graph.LANGUAGE_MODEL.value: found})
