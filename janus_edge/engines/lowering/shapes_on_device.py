"""The language model without arithmetic on shapes, which ONNX Runtime would take to the CPU.

    new = Squeeze(Shape(x)[1:2])                      steps = Slice(table, [0], Shape(x)[1:2])
    Range(0, new, 1)                            ->    steps
    Add(past, new)                              ->    Add(past, Add(Slice(steps, [-1], [end]), [1]))
    Reshape(y, Concat(Shape(..), Shape(..), k)) ->    Reshape(y, [0, 0, k])

``table`` is 0, 1, 2, ... as long as the rotation's tables, on the device. ONNX Runtime's CUDA provider
moves nodes whose inputs are shapes, small constants or inputs of the graph to the CPU, and with them,
here, the lengths: their copies would be in the way of a CUDA graph and make every step wait for the
device. What is left of a shape is read only where the kernels of Slice and Reshape take it from
the host.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import Unlike, check, known, producer
from janus_edge.engines.lowering.passes import Outcome

_END = np.iinfo(np.int64).max


def rewrite(model: ir.Model) -> Outcome:
    """Every count of new tokens and every computed target of a Reshape; others are left, with the
    reason."""
    changed, left = 0, []
    for node in [n for n in model.graph if matching.is_op(n, "Reshape")]:
        try:
            target = _target(node)
        except Unlike as why:
            left.append(f"{node.name}: {why}")
            continue
        if target is not None:
            _reshape(model.graph, node, target)
            changed += 1
    for node in [n for n in model.graph if matching.is_op(n, "Squeeze")]:
        try:
            changed += _count(model.graph, node)
        except Unlike as why:
            left.append(f"{node.name}: {why}")
    return Outcome(changed, tuple(left))


def _target(node: ir.Node) -> list[int] | None:
    """The shape that a Reshape makes, 0 for an axis of its input; None where it is a constant."""
    data, shape = known(node.inputs[0]), known(node.inputs[1])
    if matching.stored(shape) is not None or matching.is_op(shape.producer(), "Shape"):
        return None
    target = list[int]()
    for axis, part in enumerate(map(known, producer(shape, "Concat").inputs)):
        fixed = matching.constant(part)
        if fixed is not None:
            check(fixed.size == 1 and fixed.item() != 0, f"{matching.named(part)} is not one size")
            target.append(int(fixed.item()))
            continue
        check(
            data.shape is not None
            and axis < len(data.shape)
            and isinstance(data.shape[axis], ir.SymbolicDim)
            and data.shape[axis] == _dimension(producer(part, "Shape")),
            f"axis {axis} of {matching.named(data)} is not known to be {matching.named(part)}",
        )
        target.append(0)
    return target


def _dimension(shape: ir.Node) -> ir.SymbolicDim | int:
    """The one axis that a Shape tells of, as the graph names it."""
    source = known(shape.inputs[0])
    start, end = shape.attributes.get_int("start", 0), shape.attributes.get_int("end", None)
    check(
        source.shape is not None and end == start + 1 and 0 <= start < len(source.shape),
        f"{shape.name} tells of more than one axis",
    )
    assert source.shape is not None
    return source.shape[start]


def _reshape(graph: ir.Graph, node: ir.Node, target: list[int]) -> None:
    name = "reshape." + "x".join(map(str, target))
    node.replace_input_with(1, matching.add_initializer(graph, name, np.array(target, np.int64)))
    node.attributes.pop("allowzero", None)  # 0 copies the axis


def _count(graph: ir.Graph, squeeze: ir.Node) -> int:
    """Replace a scalar number of new tokens by a length on the device; how many readers it had."""
    shape = producer(squeeze.inputs[0], "Shape")
    _dimension(shape)
    check(
        len(squeeze.inputs) == 1 or matching.is_constant(squeeze.inputs[1], [0]),
        "it removes another axis",
    )
    number = squeeze.outputs[0]
    readers = [use.node for use in number.uses()]
    ranges = [node for node in readers if matching.is_op(node, "Range")]
    additions = [node for node in readers if matching.is_op(node, "Add")]
    check(
        len(ranges) + len(additions) == len(readers) and not number.is_graph_output(),
        f"{matching.named(number)} is read by others than Range and Add",
    )
    for node in ranges:
        check(
            matching.is_constant(node.inputs[0], 0)
            and node.inputs[1] is number
            and matching.is_constant(node.inputs[2], 1),
            f"{node.name} does not count from 0",
        )
    steps, length = _lengths(graph, squeeze, shape.outputs[0], _positions(graph))
    for node in ranges:
        matching.replace([node.outputs[0]], [steps])
        graph.remove(node, safe=True)
    for node in additions:
        node.replace_input_with(list(node.inputs).index(number), length)
    return len(readers)


def _positions(graph: ir.Graph) -> int:
    """How many positions the rotation's tables have."""
    for node in graph:
        if matching.is_op(node, "RotaryEmbedding"):
            return matching.size(known(node.inputs[1]), 0)
    raise Unlike("there is no RotaryEmbedding whose tables tell how many positions there are")


def _lengths(
    graph: ir.Graph, before: ir.Node, new: ir.Value, positions: int
) -> tuple[ir.Value, ir.Value]:
    """arange(new) [S] and new [1], made on the device, from ``new`` [1] on the host."""
    stem, int64 = f"{new.name}.device", ir.TensorType(ir.DataType.INT64)

    def constant(name: str, values: list[int]) -> ir.Value:
        array = np.array(values, np.int64)
        return matching.add_initializer(graph, f"{stem}.{name}", array)

    def add(op: str, name: str, size: int | None, *inputs: ir.Value) -> ir.Value:
        made = ir.Value(name=f"{stem}.{name}", type=int64, shape=ir.Shape([size]))
        node = ir.node(op, inputs, name=f"{stem}/{name}", outputs=[made])
        graph.insert_before(before, node)
        return made

    first, axis, one = constant("first", [0]), constant("axis", [0]), constant("one", [1])
    table = constant("table", list(range(positions)))
    steps = add("Slice", "steps", None, table, first, new, axis)
    last, end = constant("last", [-1]), constant("end", [int(_END)])
    greatest = add("Slice", "greatest", 1, steps, last, end, axis)
    return steps, add("Add", "new", 1, greatest, one)
