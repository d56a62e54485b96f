"""The KV cache as int8 with a scale per channel of each head, in standard ONNX.

    new k, v -> Div(scale) -> QuantizeLinear -> TensorScatter(int8 past) -> int8 present
    present -> DequantizeLinear -> Mul(scale) -> Attention

The scales [1, heads, 1, D] stand beside QuantizeLinear, which knows no scale along two axes, and are
the largest magnitude that each channel had in the calibration data over 127; what comes to lie beyond
it saturates. Channels of keys differ by orders of magnitude, which one scale for all would round away
(Liu et al., "KIVI: a tuning-free asymmetric 2bit quantization for KV cache", 2024, measure it); keys
are quantised behind their rotation, so that the cache never has to be rotated again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from janus_edge.calib.cache_updates import CacheUpdate, cache_updates
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.graph_weights import as_stored
from janus_edge.calib.operands import load_graph
from janus_edge.calib.ranges import scale_of
from janus_edge.errors import InputError
from janus_edge.graphs import Graph

_ONE, _ZERO = "cache.one", "cache.zero_point"


def quantise_cache(path: Path, calibration: Calibration) -> int:
    """Rewrite the language model's graph at ``path`` in place; its weights' file stays as it is.

    Returns how many keys and values are int8 now. Raises InputError for a calibration without them,
    and for a graph that has no cache.
    """
    model = load_graph(path)
    graph, updates = model.graph, cache_updates(model.graph)
    if not updates:
        raise InputError(f"{path.name}: has no KV cache to quantise; export the bundle again")
    float_type = graph.input[0].type.tensor_type.elem_type
    graph.initializer.extend(
        [
            TensorProto(name=_ONE, data_type=float_type, raw_data=_stored(np.ones(()), float_type)),
            numpy_helper.from_array(np.zeros((), np.int8), _ZERO),
        ]
    )
    before: dict[str, list[onnx.NodeProto]] = {}
    after: dict[str, list[onnx.NodeProto]] = {}
    for update in updates:
        graph.initializer.append(_scale(update, calibration, float_type))
        before[update.node], after[update.node] = _nodes(update)
    for node in graph.node:
        for update in updates:
            _rewire(node, update)
    nodes = [
        n
        for node in graph.node
        for n in (*before.get(node.name, ()), node, *after.get(node.name, ()))
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    cached = {name for update in updates for name in (update.past, update.present)}
    for port in (*graph.input, *graph.output):
        if port.name in cached:
            port.type.tensor_type.elem_type = TensorProto.INT8
    path.write_bytes(model.SerializeToString())
    return len(updates)


def _scale(update: CacheUpdate, calibration: Calibration, float_type: int) -> TensorProto:
    recorded = calibration.statistics(Graph.LANGUAGE_MODEL.value, update.new)
    scales = np.array([scale_of(float(m)) for m in recorded.channel_maximum], np.float32)
    if float_type == TensorProto.FLOAT16:
        scales = np.maximum(scales, np.float32(2.0**-24))
    shape = (1, update.heads, 1, update.head_size)
    return TensorProto(
        name=f"{update.new}.scale", data_type=float_type, dims=shape,
        raw_data=_stored(scales.reshape(shape), float_type),
    )  # fmt: skip


def _stored(values: NDArray[np.floating], float_type: int) -> bytes:
    return as_stored(np.asarray(values, np.float32), float_type).tobytes()


def _nodes(update: CacheUpdate) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """What stands before the update, and behind it."""
    name, scale = update.new, f"{update.new}.scale"
    return [
        helper.make_node("Div", [name, scale], [f"{name}.scaled"], name=f"{name}/Div"),
        helper.make_node(
            "QuantizeLinear", [f"{name}.scaled", _ONE, _ZERO], [f"{name}.quantized"],
            name=f"{name}/QuantizeLinear",
        ),
    ], [
        helper.make_node(
            "DequantizeLinear", [update.present, _ONE, _ZERO], [f"{update.present}.counts"],
            name=f"{update.present}/DequantizeLinear",
        ),
        helper.make_node(
            "Mul", [f"{update.present}.counts", scale], [f"{update.present}.dequantized"],
            name=f"{update.present}/Mul",
        ),
    ]  # fmt: skip


def _rewire(node: onnx.NodeProto, update: CacheUpdate) -> None:
    """The update takes the quantised values, and who reads the cache takes what they stand for."""
    for index, name in enumerate(node.input):
        if node.name == update.node and name == update.new:
            node.input[index] = f"{update.new}.quantized"
        elif node.name != update.node and name == update.present:
            node.input[index] = f"{update.present}.dequantized"
