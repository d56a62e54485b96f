"""Writing plain operators in place of one that an older operator set does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

#: Attributes that a node may have: a name and the values that mean what the rewrite writes.
Allowed = dict[str, tuple[Any, ...]]

#: The float types, and the lowest finite number of each.
LOWEST = {
    ir.DataType.FLOAT: -3.4028234663852886e38,
    ir.DataType.FLOAT16: -65504.0,
    ir.DataType.BFLOAT16: -3.3895313892515355e38,
}


class Writer:
    """Writes nodes in front of ``node``, named below it, and may at last put a value in its place."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph, self._node, self._count = graph, node, 0
        self._stem = node.name or node.outputs[0].name

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        dtype: ir.DataType | None,
        shape: ir.Shape | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> ir.Value:
        """The output, of this ``dtype`` and ``shape``, of a new operator, a standard one by default."""
        name = f"{self._stem}/{op_type}_{self._count}"
        self._count += 1
        kind = None if dtype is None else ir.TensorType(dtype)
        output = ir.Value(name=f"{name}_output", type=kind, shape=shape)
        node = ir.node(
            op_type, inputs, attributes or None, domain=domain, name=name, outputs=[output]
        )
        self._graph.insert_before(self._node, node)
        return output

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """``value`` as ``dtype``: itself where it is that already."""
        if value.dtype == dtype:
            return value
        return self.op("Cast", [value], dtype, value.shape, to=int(dtype))

    def softmax(self, value: ir.Value, precision: ir.DataType) -> ir.Value:
        """Softmax over the last axis, computed in ``precision`` and returned in the type of ``value``."""
        assert value.dtype is not None
        wide = self.op("Softmax", [self.cast(value, precision)], precision, axis=-1)
        return self.cast(wide, value.dtype)

    def size(self, value: ir.Value, axis: int) -> ir.Value:
        """The size of an axis, int64 [1]."""
        return self.op("Shape", [value], ir.DataType.INT64, ir.Shape([1]), start=axis, end=axis + 1)

    def count(self, size: ir.Value) -> ir.Value:
        """0, 1, 2, ... below ``size`` (int64 [1]), int64."""
        limit = self.op("Squeeze", [size, self.integers(0)], ir.DataType.INT64, ir.Shape([]))
        zero, one = self.scalar(0, ir.DataType.INT64), self.scalar(1, ir.DataType.INT64)
        return self.op("Range", [zero, limit, one], ir.DataType.INT64)

    def integers(self, *values: int) -> ir.Value:
        """A constant int64 vector."""
        return self.constant("_".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value: float, dtype: ir.DataType) -> ir.Value:
        """A constant without axes."""
        return self.constant(f"scalar_{value!r}", np.array(value, dtype.numpy()))

    def constant(self, label: str, values: np.ndarray) -> ir.Value:
        """A constant whose ``label`` and type tell its values, so that equal ones are stored once."""
        name = f"primitive_{values.dtype.name}_{label}"
        return self._stored(name, lambda: ir.tensor(values, name=name))

    def lazy(
        self, name: str, dtype: ir.DataType, sizes: Sequence[int], values: Callable[[], np.ndarray]
    ) -> ir.Value:
        """A constant called ``name``, computed when the model is written, and stored once."""
        shape = ir.Shape(sizes)
        return self._stored(
            name,
            lambda: ir.LazyTensor(
                lambda: ir.Tensor(values(), dtype=dtype), dtype, shape, name=name
            ),
        )

    def _stored(self, name: str, made: Callable[[], ir.TensorProtocol]) -> ir.Value:
        """The initializer called ``name``, which is ``made`` if there is none."""
        if name not in self._graph.initializers:
            tensor = made()
            kind, shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape.numpy())
            self._graph.register_initializer(
                ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
            )
        return self._graph.initializers[name]

    def finish(self, value: ir.Value) -> None:
        """Let ``value``, which one of the new nodes made, take the node's place and name."""
        old = self._node.outputs[0]
        value.name, value.type, value.shape = old.name, old.type, old.shape
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        self._graph.remove(self._node, safe=True)


def regroup(write: Writer, x: ir.Value, heads: int, wanted: int) -> ir.Value:
    """[B, heads, M, X] as [B, wanted, M heads / wanted, X]; in Reshape, 0 keeps an axis."""
    if heads == wanted:
        return x
    return write.op("Reshape", [x, write.integers(0, wanted, -1, 0)], x.dtype)


def nodes_of(model: ir.Model, op_type: str) -> list[ir.Node]:
    """The graph's nodes of a standard operator, in the graph's order."""
    return [n for n in model.graph if n.op_type == op_type and not n.domain]


def unexpected_attribute(node: ir.Node, allowed: Allowed) -> str | None:
    """Why ``node`` is left: an attribute that is not among ``allowed``, or has another value."""
    for name, attribute in node.attributes.items():
        if name not in allowed or attribute.value not in allowed[name]:
            return f"{node.op_type} has {name} = {attribute.value}"
    return None


def inputs_of(node: ir.Node, count: int) -> Iterator[ir.Value | None]:
    """The first ``count`` inputs, None where one is absent."""
    for i in range(count):
        yield node.inputs[i] if i < len(node.inputs) else None


def sizes(value: ir.Value, *axes: int) -> tuple[object, ...] | None:
    """Sizes of axes, numbers or symbols, that equal another value's only if they are the same.

    None where the graph does not tell them.
    """
    if value.shape is None:
        return None
    found = tuple(value.shape[axis] for axis in axes)
    named = all(isinstance(dim, int) or dim.value is not None for dim in found)
    return tuple(str(dim) for dim in found) if named else None
