"""Where the language model writes its KV cache, found in its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CacheUpdate:
    """A TensorScatter of a graph input: ``new`` [B, heads, S, D] goes into ``past``, which gives ``present``.

    All three are names of tensors, ``node`` is the node's.
    """

    node: str
    past: str
    new: str
    present: str
    heads: int
    head_size: int


def cache_updates(graph: onnx.GraphProto) -> list[CacheUpdate]:
    """Every one of ``graph``, in its order: keys and values of each layer of a language model."""
    shapes = {
        port.name: [dim.dim_value for dim in port.type.tensor_type.shape.dim]
        for port in graph.input
    }
    return [
        CacheUpdate(
            node.name, node.input[0], node.input[1], node.output[0],
            shapes[node.input[0]][1], shapes[node.input[0]][3],
        )
        for node in graph.node
        if node.op_type == "TensorScatter" and len(shapes.get(node.input[0], ())) == 4
    ]  # fmt: skip


def as_rows(values: NDArray[Any]) -> NDArray[Any]:
    """Keys or values [B, heads, S, D] with a row for each token: [B, S, heads * D]."""
    rows, heads, new, size = values.shape
    return values.swapaxes(1, 2).reshape(rows, new, heads * size)
