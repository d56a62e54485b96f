"""MatMuls that read one input joined into one: queries, keys and values; gate and up.

    y0 = MatMul(x, W0), y1 = MatMul(x, W1)   ->   y0, y1 = Split(MatMul(x, [W0 | W1]), axis = -1)

Weights may be plain, or integers behind a DequantizeLinear (per channel or blocked along K), whose
integers, scales and zero points are joined along N; types, blocks and the presence of zero points
must agree. Inputs quantised by Q/DQ pairs of their own are one input where scale and zero point are
equal. Joined weights are LazyTensors: they are read and joined when the model is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import Unlike, check, known
from janus_edge.engines.lowering.passes import Outcome


@dataclass(frozen=True, slots=True)
class _Kind:
    """What must agree between MatMuls that are joined; the names appear in reasons."""

    input_quantisation: str | None
    types: tuple[str, ...]
    shapes_but_the_last_axis: tuple[tuple[int, ...], ...]
    dequantisation: tuple[tuple[str, int], ...] | None

    def unlike(self, other: _Kind) -> str:
        """The first thing that differs, for a reason."""
        name = next(f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name))
        return name.replace("_", " ")


@dataclass(frozen=True, slots=True)
class _Product:
    """A MatMul of ``source`` (before its Q/DQ pair) with a constant [K, N].

    ``parts`` is the weight, or the integers, scales and zero points of ``dequantize``; N is the last
    axis of each.
    """

    node: ir.Node
    source: ir.Value
    parts: tuple[ir.Value, ...]
    dequantize: ir.Node | None
    kind: _Kind


def rewrite(model: ir.Model) -> Outcome:
    """All MatMuls with a constant weight that share their input; others are left with the reason."""
    changed, left = 0, []
    groups: dict[ir.Value, list[ir.Node]] = {}
    for node in model.graph:
        if matching.is_op(node, "MatMul") and matching.stored(_weight(node)[0]) is not None:
            groups.setdefault(_source(node)[0], []).append(node)
    for nodes in [g for g in groups.values() if len(g) > 1]:
        products = []
        for node in nodes:
            try:
                products.append(_product(node))
            except Unlike as why:
                left.append(f"{node.name}: {why}")
        kinds: dict[_Kind, list[_Product]] = {}
        for product in products:
            kinds.setdefault(product.kind, []).append(product)
        for kind, alike in kinds.items():
            if len(alike) > 1:
                _join(model.graph, alike)
                changed += 1
            elif len(products) > 1:
                other = next(p for p in products if p.kind != kind)
                differing = kind.unlike(other.kind)
                left.append(f"{alike[0].node.name}: other {differing} than {other.node.name}")
    return Outcome(changed, tuple(left))


def _source(node: ir.Node) -> tuple[ir.Value, ir.Node | None]:
    """What a MatMul reads before a Q/DQ pair, and the pair's QuantizeLinear."""
    value = known(node.inputs[0])
    dequantize = value.producer()
    if dequantize is not None and matching.is_op(dequantize, "DequantizeLinear"):
        quantize = known(dequantize.inputs[0]).producer()
        if quantize is not None and matching.is_op(quantize, "QuantizeLinear"):
            return known(quantize.inputs[0]), quantize
    return value, None


def _weight(node: ir.Node) -> tuple[ir.Value, ir.Node | None]:
    """The constant that a MatMul multiplies by, as it is stored, and its DequantizeLinear."""
    value = known(node.inputs[1])
    dequantize = value.producer()
    if dequantize is not None and matching.is_op(dequantize, "DequantizeLinear"):
        return known(dequantize.inputs[0]), dequantize
    return value, None


def _product(node: ir.Node) -> _Product:
    source, quantize = _source(node)
    stored, dequantize = _weight(node)
    parts = (stored,) if dequantize is None else tuple(map(known, dequantize.inputs))
    tensors = [matching.stored(part) for part in parts]
    check(matching.rank(stored) == 2, f"{matching.named(stored)} is not a matrix")
    for part, tensor in zip(parts, tensors, strict=True):
        check(tensor is not None, f"{matching.named(part)} is not a constant")
        check(len(part.uses()) == 1, f"{matching.named(part)} has other readers")
        check(
            matching.rank(part) != 0 and matching.size(part, -1) == matching.size(stored, 1),
            f"{matching.named(part)} has no value per channel",
        )
    shapes = tuple(tuple(p.shape.numpy()[:-1]) if p.shape is not None else () for p in parts)
    kind = _Kind(
        _quantisation(quantize),
        tuple(t.dtype.name for t in tensors if t is not None),
        shapes,
        None if dequantize is None else _dequantisation(dequantize),
    )
    return _Product(node, source, parts, dequantize, kind)


def _quantisation(quantize: ir.Node | None) -> str | None:
    """A Q/DQ pair's scale and zero point, as a text to compare."""
    if quantize is None:
        return None
    parameters = [matching.constant(i) for i in quantize.inputs[1:]]
    check(None not in [p if p is None else 0 for p in parameters], "its input's scale is computed")
    return repr([(str(p.dtype), p.tolist()) for p in parameters if p is not None])


def _dequantisation(node: ir.Node) -> tuple[tuple[str, int], ...]:
    """Axis and block; per channel it must be the last axis, blocks must lie along the first."""
    axis, block = node.attributes.get_int("axis", 1) % 2, node.attributes.get_int("block_size", 0)
    matching.only_attributes(node, {"axis": [axis, axis - 2], "block_size": [block]})
    check(axis == (0 if block else 1), f"axis {axis} with blocks of {block} does not run along K")
    return (("axis", axis), ("block_size", block))


def _join(graph: ir.Graph, products: Sequence[_Product]) -> None:
    first = products[0]
    stem = f"{first.node.name}.joined"
    parts = [
        _joined(
            graph, [p.parts[i] for p in products], f"{stem}.{('weight', 'scale', 'zero_point')[i]}"
        )
        for i in range(len(first.parts))
    ]
    nodes, weight = list[ir.Node](), parts[0]
    if first.dequantize is not None:
        nodes.append(
            ir.Node(
                "", "DequantizeLinear", parts, first.dequantize.attributes.values(),
                name=f"{stem}/DequantizeLinear",
                outputs=[ir.Value(name=f"{stem}.dequantized")],
            )
        )  # fmt: skip
        weight = nodes[-1].outputs[0]
    olds = [p.node.outputs[0] for p in products]
    widths = [matching.size(p.parts[0], 1) for p in products]
    product = ir.node(
        "MatMul", [first.node.inputs[0], weight], name=stem,
        outputs=[ir.Value(name=f"{stem}.product", type=olds[0].type, shape=_widened(olds[0], sum(widths)))],
    )  # fmt: skip
    sizes = matching.add_initializer(graph, f"{stem}.widths", np.array(widths, np.int64))
    split = ir.node(
        "Split", [product.outputs[0], sizes], {"axis": -1},
        name=f"{stem}/Split", outputs=[matching.take_over(o) for o in olds],
    )  # fmt: skip
    graph.insert_before(first.node, [*nodes, product, split])
    matching.replace(olds, split.outputs)
    graph.remove([p.node for p in products], safe=True)


def _widened(value: ir.Value, width: int) -> ir.Shape | None:
    return None if value.shape is None else ir.Shape([*value.shape[:-1], width])


def _joined(graph: ir.Graph, parts: Sequence[ir.Value], name: str) -> ir.Value:
    """A new initializer that is ``parts`` side by side, once it is asked for."""
    tensors = [t for t in map(matching.stored, parts) if t is not None]
    leading = tensors[0].shape.numpy()[:-1]
    shape = ir.Shape([*leading, sum(matching.size(p, -1) for p in parts)])
    dtype = tensors[0].dtype

    def join() -> ir.TensorProtocol:
        return ir.Tensor(np.concatenate([t.numpy() for t in tensors], -1), dtype=dtype)

    value = ir.Value(
        name=name, type=ir.TensorType(dtype), shape=shape,
        const_value=ir.LazyTensor(join, dtype, shape, name=name),
    )  # fmt: skip
    graph.register_initializer(value)
    return value
