"""Graphs of 8-bit convolutions with channels last: each convolution becomes a matrix product.

    QuantizeLinear, DequantizeLinear, Conv   ->   QuantizeLinear, Gather, MatMulIntegerToFloat

ONNX Runtime (1.31) makes an integer convolution of a Q/DQ pair before Conv only where the output is
quantised as well, which costs accuracy; and its ConvInteger gathers windows on one thread, writes
32-bit sums and packs the picture anew at every call. A product of the windows, row by row, with the
weights needs neither: weights are packed once, sums are scaled where they are made, and the kernels of
integer products are the best that a processor has. Weights are int8, or uint8 with zero point 128, the
same numbers, for processors whose products of uint8 and int8 saturate in 16 bits. (ONNX Runtime can make
weights unsigned when it opens a graph, but not those that several products share.)

A picture [N, C, H, W] is kept as strips [N, rows * W, C], one below the other. What stands between
convolutions (norm, swish, sums, quantisation) is done strip by strip, small enough to stay in the
processor's caches, and no buffer of windows is larger than a strip's. What an operator that is not known
here reads is put together again.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.channels_last_convolution import Convolution, convolution, convolve
from janus_edge.engines.lowering.channels_last_norm import normalise
from janus_edge.engines.lowering.matching import Unlike
from janus_edge.engines.lowering.passes import Outcome
from janus_edge.engines.lowering.picture_strips import Picture, joined, repeated, split
from janus_edge.engines.lowering.primitives import Writer


def rewrite(model: ir.Model) -> Outcome:
    """Every Conv of integers, and what lies between; a Conv of floats is not mentioned.

    Inputs must be uint8 (``unsigned_activations.py`` comes before); weights stay int8.
    """
    return _rewrite(model, ir.DataType.INT8)


def rewrite_unsigned(model: ir.Model) -> Outcome:
    """As :func:`rewrite`, with weights as uint8."""
    return _rewrite(model, ir.DataType.UINT8)


def _rewrite(model: ir.Model, weight_type: ir.DataType) -> Outcome:
    for node in [n for n in model.graph if matching.is_op(n, "QuantizeLinear")]:
        node.outputs[0].shape = matching.known(node.inputs[0]).shape
        dtype = matching.known(node.inputs[2]).dtype
        if dtype is not None:
            node.outputs[0].dtype = dtype
    found, left = dict[ir.Node, Convolution](), []
    for node in [n for n in model.graph if matching.is_op(n, "Conv")]:
        if not all(
            matching.is_op(matching.known(i).producer(), "DequantizeLinear")
            for i in node.inputs[:2]
        ):
            continue
        try:
            found[node] = convolution(node)
        except Unlike as why:
            left.append(f"{node.name}: {why}")
    if found:
        _Rewriting(model.graph, found, weight_type).run()
        model.opset_imports[matching.MICROSOFT] = 1
    return Outcome(len(found), tuple(left))


class _Rewriting:
    """One walk over the graph, in its order; what was rewritten stays behind without readers."""

    def __init__(
        self, graph: ir.Graph, convolutions: dict[ir.Node, Convolution], weight_type: ir.DataType
    ) -> None:
        self._graph, self._convolutions, self._weight_type = graph, convolutions, weight_type
        self._pictures: dict[ir.Value, Picture] = {}
        self._joined: dict[ir.Value, ir.Value] = {}

    def run(self) -> None:
        for node in list(self._graph):
            write = Writer(self._graph, node)
            picture = self._rewritten(node, write)
            if picture:
                self._pictures[node.outputs[0]] = picture
            elif not self._only_for_convolutions(node):
                self._read_joined(write, node)
        for output in [o for o in self._graph.outputs if o in self._pictures]:
            whole = joined(write, self._pictures[output])  # nodes are sorted behind all passes
            name, whole.type, whole.shape = output.name, output.type, output.shape
            output.name, whole.name = f"{name}.channels_first", name
            ir.convenience.replace_all_uses_with(output, whole, replace_graph_outputs=True)

    def _rewritten(self, node: ir.Node, write: Writer) -> Picture | None:
        """What ``node`` makes as a picture, or None where it is none of the kinds that are known."""
        if node in self._convolutions:
            place = self._convolutions[node]
            picture = self._picture(write, place.quantised)
            return convolve(write, place, picture, self._weight_type)
        known = [self._pictures[i] for i in node.inputs if i is not None and i in self._pictures]
        if node.domain or not known:
            return None
        x, floats = node.inputs[0], known[0].strips[0].dtype == ir.DataType.FLOAT
        assert x is not None
        match node.op_type:
            case "GroupNormalization" if floats:
                return normalise(write, node, self._whole(write, x))
            case "Sigmoid":
                return self._each(write, node, self._whole(write, x), ir.DataType.FLOAT)
            case "QuantizeLinear" if matching.rank(matching.known(node.inputs[1])) == 0:
                return self._each(write, node, self._picture(write, x), node.outputs[0].dtype)
            case "Resize" if repeat := _repeats(node):
                return self._picture(write, x).repeated(repeat)
            case "Add" | "Mul" if floats and self._same_size(node):
                return self._both(write, node)
        return None

    def _each(
        self, write: Writer, node: ir.Node, picture: Picture, dtype: ir.DataType | None
    ) -> Picture:
        """An operator of one picture, element by element; its other inputs are its own."""
        return picture.of(
            write.op(node.op_type, [s, *node.inputs[1:]], dtype, s.shape, **_attributes(node))
            for s in picture.strips
        )

    def _both(self, write: Writer, node: ir.Node) -> Picture:
        """A sum or product of two pictures; a value with its own sigmoid is one operator's."""
        one, other = (matching.known(i) for i in node.inputs)
        dtype, picture = ir.DataType.FLOAT, self._whole(write, one)
        sigmoid = other.producer()
        if (
            sigmoid is not None
            and (node.op_type, sigmoid.op_type) == ("Mul", "Sigmoid")
            and sigmoid.inputs[0] is one
        ):
            return picture.of(
                write.op("QuickGelu", [s], dtype, s.shape, matching.MICROSOFT, alpha=1.0)
                for s in picture.strips
            )
        pairs = zip(picture.strips, self._whole(write, other).strips, strict=True)
        return picture.of(write.op(node.op_type, pair, dtype, pair[0].shape) for pair in pairs)

    def _same_size(self, node: ir.Node) -> bool:
        """Whether both inputs are pictures of one size, or can be."""
        sizes = list[tuple[Any, ...]]()
        for value in node.inputs:
            picture = self._pictures.get(matching.known(value))
            if picture:
                height, width = (s * picture.repeat for s in (picture.height, picture.width))
                sizes.append((picture.channels, height, width))
            elif matching.rank(matching.known(value)) == 4:
                sizes.append(tuple(matching.known(value).shape or ())[1:])
        return len(sizes) == 2 and sizes[0] == sizes[1]

    def _picture(self, write: Writer, value: ir.Value) -> Picture:
        """``value`` as a picture, which it may not have been so far."""
        if value not in self._pictures:
            self._pictures[value] = split(write, value)
        return self._pictures[value]

    def _whole(self, write: Writer, value: ir.Value) -> Picture:
        """As ``_picture``, with every pixel written out."""
        return repeated(write, self._picture(write, value))

    def _only_for_convolutions(self, node: ir.Node) -> bool:
        return matching.is_op(node, "DequantizeLinear") and all(
            use.node in self._convolutions for use in node.outputs[0].uses()
        )

    def _read_joined(self, write: Writer, node: ir.Node) -> None:
        """Let ``node`` read what became of pictures among its inputs."""
        for index, value in enumerate(node.inputs):
            if value is None or value not in self._pictures or value.producer() is None:
                continue
            if value not in self._joined:
                self._joined[value] = joined(write, self._pictures[value])
            node.replace_input_with(index, self._joined[value])


def _repeats(node: ir.Node) -> int | None:
    """By how much a Resize repeats every pixel, both ways; None for one that does something else."""
    mode = node.attributes.get_string("mode", "nearest")
    places = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    rounding = node.attributes.get_string("nearest_mode", "round_prefer_floor")
    if (mode, places, rounding) != ("nearest", "asymmetric", "floor") or len(node.inputs) != 3:
        return None
    scales = matching.constant(node.inputs[2])
    if scales is None or scales.shape != (4,) or scales.tolist()[:2] != [1, 1]:
        return None
    *_, down, across = scales.tolist()
    return int(down) if down == across and down == int(down) else None


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: a.value for name, a in node.attributes.items() if isinstance(a, ir.Attr)}
