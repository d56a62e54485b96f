"""Weights on their way from a checkpoint into a graph's external data, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor, to_torch_dtype
from torch import Tensor

from janus_edge.bundle import Progress
from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.graph_modules import GRAPH_MODULES, build_module
from janus_edge.export.modules.layers import Linear
from janus_edge.graphs import Graph

#: Smaller values (shapes, axes, norms of a miniature) stay in the graph's own file.
EXTERNAL_BYTES = 1024


def attach_weights(model: ir.Model, graph: Graph, checkpoint: Checkpoint) -> None:
    """Give every initializer without a value one that is read when it is written.

    A weight is converted to the graph's dtype, and transposed for :class:`Linear`, in one pass
    into memory of its final size; nothing is kept afterwards.
    """
    with torch.device("meta"):
        module = build_module(graph, checkpoint.config, torch.float32)
    transposed = {f"{n}.weight" for n, m in module.named_modules() if isinstance(m, Linear)}
    computed = GRAPH_MODULES[graph].computed
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            continue
        if name in computed:
            read = _bind(computed[name], checkpoint)
        else:
            read = _bind(checkpoint.tensor, f"{module.prefix}{name}")
        assert value.dtype is not None
        assert value.shape is not None
        value.const_value = ir.LazyTensor(
            _convert(read, value.dtype, value.shape.numpy(), transpose=name in transposed),
            value.dtype,
            ir.Shape(value.shape.numpy()),
            name=name,
        )


def save_graph(model: ir.Model, path: Path, progress: Progress | None = None) -> list[Path]:
    """Write ``path`` and, where there are large weights, ``path`` with suffix ``.weights``.

    Returns the weight files written (one or none).
    """
    weights = path.with_suffix(".weights")

    def report(tensor: ir.TensorProtocol, _: object) -> None:
        if progress:
            progress(tensor.nbytes)

    ir.save(
        model,
        path,
        external_data=weights.name,
        size_threshold_bytes=EXTERNAL_BYTES,
        callback=report,
    )
    if weights.exists() and weights.stat().st_size == 0:
        weights.unlink()
    return [weights] if weights.exists() else []


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, for progress bars."""
    return sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)


def _bind(function: Callable[..., Tensor], argument: object) -> Callable[[], Tensor]:
    return lambda: function(argument)


def _convert(
    read: Callable[[], Tensor], dtype: ir.DataType, shape: tuple[int, ...], *, transpose: bool
) -> Callable[[], ir.TensorProtocol]:
    def evaluate() -> ir.TensorProtocol:
        tensor = read()
        if transpose:
            tensor = tensor.T
        result = torch.empty(shape, dtype=to_torch_dtype(dtype))
        if tensor.shape != result.shape:
            tensor = tensor.reshape(shape)
        return TorchTensor(result.copy_(tensor))

    return evaluate
