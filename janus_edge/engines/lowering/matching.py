"""What the passes ask of a graph: constants, producers, readers, and why a place does not fit.

A check that fails raises :class:`Unlike`, whose text a pass lists in ``Outcome.left``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

#: The domain of ONNX Runtime's own operators.
MICROSOFT = "com.microsoft"


class Unlike(Exception):  # noqa: N818 - no error: the place stays as it is
    """Why a place in a graph is not rewritten."""


def check(fits: bool, why: str) -> None:
    """Raise Unlike with ``why`` unless ``fits``."""
    if not fits:
        raise Unlike(why)


def named(value: ir.Value | None) -> str:
    """A value's name in quotes, for a reason."""
    return "an absent input" if value is None else f"'{value.name}'"


def known(value: ir.Value | None) -> ir.Value:
    """``value``, which must not be absent."""
    if value is None:
        raise Unlike("an input is absent")
    return value


def is_op(node: ir.Node | None, op_type: str, domain: str = "") -> bool:
    """Whether ``node`` is that operator."""
    return node is not None and node.op_type == op_type and (node.domain or "") == domain


def producer(value: ir.Value | None, op_type: str) -> ir.Node:
    """The standard operator that makes ``value``."""
    node = value.producer() if value is not None else None
    if node is None or not is_op(node, op_type):
        found = "no node" if node is None else node.op_type
        raise Unlike(f"{named(value)} comes from {found}, not from {op_type}")
    return node


def only_reader(value: ir.Value, op_type: str) -> ir.Node:
    """The one node that reads ``value``, a standard operator; ``value`` is no graph output."""
    readers = [use.node for use in value.uses()]
    check(
        len(readers) == 1 and not value.is_graph_output(),
        f"{named(value)} has readers besides one {op_type}",
    )
    check(
        is_op(readers[0], op_type), f"{named(value)} is read by {readers[0].op_type}, not {op_type}"
    )
    return readers[0]


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """What ``value`` holds when it is an initializer (no input that a caller may replace), else None.

    The whole tensor is read: ask for small values only.
    """
    tensor = stored(value)
    return None if tensor is None else np.asarray(tensor.numpy())


def stored(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer that no caller may replace, unread; None for any other value."""
    if value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value


def is_constant(value: ir.Value | None, expected: int | Sequence[int]) -> bool:
    """Whether ``value`` is an initializer that holds these integers."""
    found = constant(value)
    return found is not None and found.tolist() == expected


def size(value: ir.Value, axis: int) -> int:
    """The size of an axis that the graph fixes."""
    found = None if value.shape is None else value.shape[axis]
    if not isinstance(found, int):
        raise Unlike(f"axis {axis} of {named(value)} has no fixed size")
    return found


def rank(value: ir.Value) -> int | None:
    """The number of axes, None where the graph does not tell."""
    return None if value.shape is None else len(value.shape)


def only_attributes(node: ir.Node, allowed: dict[str, Collection[Any]]) -> None:
    """Check that each attribute is among ``allowed``, with one of the values given there."""
    for name, attribute in node.attributes.items():
        found = list(attribute.value) if isinstance(attribute.value, tuple) else attribute.value
        check(
            name in allowed and found in allowed[name],
            f"{node.op_type} has the attribute {name} = {found}",
        )


def add_initializer(graph: ir.Graph, name: str, values: NDArray[Any]) -> ir.Value:
    """A new initializer of ``graph``, or the one of that name."""
    if name not in graph.initializers:
        tensor = ir.tensor(values, name=name)
        graph.register_initializer(
            ir.Value(
                name=name,
                type=ir.TensorType(tensor.dtype),
                shape=ir.Shape(values.shape),
                const_value=tensor,
            )
        )
    return graph.initializers[name]


def take_over(old: ir.Value, name: str | None = None) -> ir.Value:
    """A value of the type and shape of ``old`` for a new node, and of its name unless another is given."""
    return ir.Value(name=name or old.name, type=old.type, shape=old.shape)


def replace(olds: Sequence[ir.Value], news: Sequence[ir.Value]) -> None:
    """Let ``news`` be read, and be graph outputs, in place of ``olds``."""
    ir.convenience.replace_all_uses_with(olds, news, replace_graph_outputs=True)


def copy_of(node: ir.Node, copies: dict[ir.Value | None, ir.Value | None], suffix: str) -> ir.Node:
    """``node`` for another graph, reading ``copies`` where there are some.

    Its outputs, whose names end with ``suffix``, are added to ``copies``.
    """
    outputs = [take_over(o, f"{o.name}{suffix}") for o in node.outputs]
    inputs = [copies.get(i, i) for i in node.inputs]
    copies.update(zip(node.outputs, outputs, strict=True))
    return ir.Node(
        node.domain, node.op_type, inputs, node.attributes.values(), outputs=outputs, name=node.name
    )
