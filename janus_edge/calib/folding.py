"""Where factors on an input's channels can go: into what makes the input.

X W = (X / s)(s W). The division is free where X comes, channel by channel, from something with
weights: a norm, a linear layer (the values of attention, the ungated half of a gated MLP). Found by
walking the graph, so that it holds for every graph of the bundle.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx

from janus_edge.calib.operands import Operand

#: Operators that move values about but keep a channel a channel along the walk of a V projection.
_MOVES = ("Reshape", "Transpose", "TensorScatter")


@dataclass(frozen=True, slots=True)
class Fold:
    """Weights to divide by s: ``vectors`` [K] (a norm's, a bias), the columns of ``matrix`` [_, K].

    ``matrix`` is None for a norm.
    """

    vectors: tuple[str, ...]
    matrix: str | None


class Walker:
    """Who makes and who reads each tensor of a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers = Counter(name for node in graph.node for name in node.input)
        self._shapes = {i.name: tuple(i.dims) for i in graph.initializer}
        self._outputs = {o.name for o in graph.output}

    def fold(self, readers: list[Operand]) -> Fold | None:
        """What can be divided where ``readers`` are operands of one input; None if nothing can.

        None unless they are all that reads the input, and all that is divided serves only it.
        """
        name, channels = readers[0].input, readers[0].channels
        if any(r.op_type == "Conv" for r in readers) or not self._only(name, len(readers)):
            return None
        maker = self._makers.get(name)
        if maker is None:
            return None
        if maker.op_type in ("RMSNormalization", "LayerNormalization"):
            return self._norm(maker, channels)
        if maker.op_type == "Mul":
            return self._gated(maker, channels)
        return self._attention(maker, channels)

    def _norm(self, node: onnx.NodeProto, channels: int) -> Fold | None:
        vectors = tuple(name for name in node.input[1:] if name)
        fits = all(self._shapes.get(v) == (channels,) and self._readers[v] == 1 for v in vectors)
        return Fold(vectors, None) if vectors and fits else None

    def _gated(self, node: onnx.NodeProto, channels: int) -> Fold | None:
        """A product of a gate with the plain output of a linear layer."""
        folds = (self._linear(name, channels) for name in node.input)
        return next((fold for fold in folds if fold), None)

    def _attention(self, node: onnx.NodeProto, channels: int) -> Fold | None:
        """Attention's output is linear in its values, head by head."""
        while node.op_type in ("Reshape", "Transpose"):
            before = self._makers.get(node.input[0])
            if before is None or not self._only(node.input[0]):
                return None
            node = before
        if node.op_type != "Attention" or not self._only(node.output[0]):
            return None
        name = node.input[2]
        while (maker := self._makers.get(name)) is not None and maker.op_type in _MOVES:
            # a cache holds the divided values from its first position on: it is written by this
            own = maker.op_type == "TensorScatter" or self._only(name)
            if not own:
                return None
            name = maker.input[1 if maker.op_type == "TensorScatter" else 0]
        return self._linear(name, channels)

    def _linear(self, name: str, channels: int) -> Fold | None:
        """The layer whose output ``name`` is: a MatMul, or a MatMul and the Add of its bias."""
        node, vectors = self._makers.get(name), tuple[str, ...]()
        if node is None or not self._only(name):
            return None
        if node.op_type == "Add":
            product, bias = node.input
            if bias not in self._shapes:
                product, bias = bias, product
            if self._shapes.get(bias) != (channels,) or self._readers[bias] != 1:
                return None
            vectors, node = (bias,), self._makers.get(product)
            if node is None or not self._only(product):
                return None
        if node.op_type != "MatMul" or node.input[1] not in self._shapes:
            return None
        weight = node.input[1]
        whole = self._shapes[weight][1:] == (channels,) and self._readers[weight] == 1
        return Fold(vectors, weight) if whole else None

    def _only(self, name: str, readers: int = 1) -> bool:
        """Whether so many inputs read ``name``, and it is no output of the graph."""
        return self._readers[name] == readers and name not in self._outputs
