"""Bytes of weights that one call of a graph must read, from its ONNX file.

Counted are the initialisers that a node reads, as they are stored: 4-bit integers half a byte, and
their scales. Of a table of which a node takes rows (Gather's, and the sines and cosines of rotary
embeddings) a call reads rows only. Constants inside nodes are a few bytes and left out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from janus_edge.bench.protobuf import Value, fields, varints
from janus_edge.bundle import Bundle
from janus_edge.engine import Engine
from janus_edge.errors import BundleError
from janus_edge.graphs import Graph

#: onnx.proto's TensorProto.DataType -> name and bits of one element.
_TYPES = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16),
    6: ("int32", 32), 7: ("int64", 64), 9: ("bool", 8), 10: ("float16", 16), 11: ("float64", 64),
    12: ("uint32", 32), 13: ("uint64", 64), 16: ("bfloat16", 16), 17: ("float8", 8),
    18: ("float8", 8), 19: ("float8", 8), 20: ("float8", 8), 21: ("uint4", 4), 22: ("int4", 4),
    23: ("float4", 4), 24: ("float8", 8), 25: ("uint2", 2), 26: ("int2", 2),
}  # fmt: skip

#: Operators that take rows of a table, and which of their inputs are tables.
_ROWS = {
    "Gather": (0,), "RotaryEmbedding": (1, 2, 3), "GroupQueryAttention": (7, 8),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Bytes that a call reads by the type in which they are stored, and per row of tables."""

    whole: dict[str, int]
    row: int

    def read(self, rows: int) -> int:
        """Bytes of a call that takes ``rows`` rows of each table."""
        return sum(self.whole.values()) + rows * self.row


def weight_bytes(bundle: Bundle, graph: Graph) -> WeightBytes:
    """What a call of ``graph`` reads; of a plan that is no ONNX, what its engine's manifest says.

    Raises BundleError for a file that is not ONNX although it is called so.
    """
    path = bundle.graph(graph)
    if path.suffix != ".onnx":
        if isinstance(bundle, Engine):
            return WeightBytes({"as built": bundle.manifest.builds[graph.value].weight_bytes}, 0)
        raise BundleError(f"{path}: is not an ONNX file; export the bundle again")
    try:
        return read_weight_bytes(path)
    except ValueError as invalid:
        raise BundleError(f"{path}: not ONNX ({invalid}); export the bundle again") from invalid


def read_weight_bytes(path: Path) -> WeightBytes:
    """As :func:`weight_bytes`, of a file; raises ValueError for what is no ONNX."""
    found = _Found({}, defaultdict(set))
    for number, value in fields(memoryview(path.read_bytes())):
        if number == 7:  # ModelProto.graph
            _read_graph(_message(value), found)
    whole: dict[str, int] = defaultdict(int)
    row = 0
    for name, (kind, shape) in found.tensors.items():
        element, bits = _TYPES[kind]
        count = 1
        for size in shape:
            count *= size
        uses = found.uses[name]
        if uses == {True} and shape and shape[0]:
            row += count // shape[0] * bits // 8
        elif uses:
            whole[element] += (count * bits + 7) // 8
    return WeightBytes(dict(whole), row)


@dataclass(frozen=True, slots=True)
class _Found:
    """Initialisers (type, shape) by name; by name, whether each reader takes rows of it only."""

    tensors: dict[str, tuple[int, tuple[int, ...]]]
    uses: dict[str, set[bool]]


def _read_graph(graph: memoryview, found: _Found) -> None:
    for number, value in fields(graph):
        if number == 1:  # GraphProto.node
            _read_node(_message(value), found)
        elif number == 5:  # GraphProto.initializer
            _read_tensor(_message(value), found)


def _read_node(node: memoryview, found: _Found) -> None:
    inputs, operator = [], ""
    for number, value in fields(node):
        if number == 1:
            inputs.append(_string(value))
        elif number == 4:
            operator = _string(value)
        elif number == 5:  # NodeProto.attribute: the branches of an If are graphs
            for inner, graph in fields(_message(value)):
                if inner in (6, 11):
                    _read_graph(_message(graph), found)
    for place, name in enumerate(inputs):
        found.uses[name].add(place in _ROWS.get(operator, ()))


def _read_tensor(tensor: memoryview, found: _Found) -> None:
    name, kind, shape = "", 0, []
    for number, value in fields(tensor):
        if number == 1:
            shape += varints(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8:
            name = _string(value)
    if kind not in _TYPES:
        raise ValueError(f"initialiser {name!r} has the unknown type {kind}")
    found.tensors[name] = (kind, tuple(shape))


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message is expected")
    return value


def _string(value: Value) -> str:
    return str(_message(value), "utf-8")
