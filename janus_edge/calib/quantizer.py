"""Rewriting one graph: quantised weights and explicit Q/DQ nodes in place of float weights.

``quantised_nodes.py`` defines the nodes. Every node has its own Q/DQ pair, even if several read the
same input: ONNX Runtime 1.31 fuses a signed pair only into a single reader. Weights are loaded one at
a time, except that the weights of one input are loaded together while its factors are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from janus_edge.calib import awq, smoothing
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.folding import Fold, Walker
from janus_edge.calib.gptq import quantize_gptq
from janus_edge.calib.graph_weights import (
    WeightWriter,
    is_float,
    read_bytes,
    read_floats,
)
from janus_edge.calib.histogram import Histogram
from janus_edge.calib.integers import quantize_blocks, quantize_per_channel
from janus_edge.calib.number_formats import FORMATS
from janus_edge.calib.nvfp4 import quantize_nvfp4
from janus_edge.calib.operands import Operand, load_graph, operands_of
from janus_edge.calib.quantised_nodes import (
    input_nodes,
    input_tensors,
    weight_nodes,
    weight_tensors,
)
from janus_edge.calib.quantized_weight import QuantizedWeight
from janus_edge.calib.ranges import range_of, scale_of
from janus_edge.calib.statistics import InputStatistics
from janus_edge.errors import InputError
from janus_edge.recipe import Recipe, Scheme

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GraphReport:
    """What became of one graph: ``quantised`` of ``nodes``, and the exponents that were found.

    ``alphas`` maps an input's name to SmoothQuant's or AWQ's exponent; None where leaving the input
    alone was best. Inputs whose factors have nowhere to go are in ``unscaled``.
    """

    graph: str
    nodes: int
    quantised: int
    alphas: dict[str, float | None]
    unscaled: tuple[str, ...]


class GraphQuantizer:
    """One graph of a bundle on its way into another precision.

    Raises InputError where the recipe asks for statistics that there are none of.
    """

    def __init__(
        self, graph: str, source: Path, recipe: Recipe, calibration: Calibration | None
    ) -> None:
        self._name, self._folder, self._calibration = graph, source.parent, calibration
        self._model = load_graph(source)
        self._tensors = {i.name: i for i in self._model.graph.initializer}
        every = operands_of(self._model.graph)
        self._nodes = len(every)
        self._schemes: dict[str, tuple[Operand, Scheme]] = {}
        for operand in every:
            scheme = recipe.scheme(graph, operand.node)
            if scheme:
                self._schemes[operand.node] = (operand, _fitting(scheme, operand, graph))
        self._rows: dict[str, Floats] = {}  # factors s by input; its weights' rows get them
        self._divisors: dict[str, Floats] = {}  # weight -> what divides its last axis
        self._alphas: dict[str, float | None] = {}
        self._unscaled: list[str] = []

    @property
    def touched(self) -> bool:
        """Whether the recipe changes this graph at all."""
        return bool(self._schemes)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the graph's weights, for progress bars."""
        return sum(int(np.prod(t.dims, dtype=np.int64)) * 4 for t in self._tensors.values())

    def write(
        self, target: Path, progress: Callable[[int], None] = lambda done: None
    ) -> GraphReport:
        """Write the graph and its weights file beside it; ``progress`` takes bytes done."""
        self._find_factors()
        graph, made, scales = self._model.graph, dict[str, list[onnx.NodeProto]](), set[str]()
        tensors: list[TensorProto] = []
        with WeightWriter(target.with_suffix(".weights")) as writer:
            for node in graph.node:
                if node.name not in self._schemes:
                    continue
                operand, scheme = self._schemes[node.name]
                before = made.setdefault(node.name, [])
                if operand.weight in self._tensors:
                    tensor = self._tensors.pop(operand.weight)
                    weight = self._quantised(tensor, operand, scheme)
                    tensors += weight_tensors(weight, tensor, writer)
                    before += weight_nodes(weight, operand)
                    progress(4 * weight.values.size)
                node.input[1] = f"{operand.weight}.dequantized"
                if scheme.inputs:
                    if operand.input not in scales:
                        scales.add(operand.input)
                        tensors += self._input_tensors(operand, scheme, tensor.data_type, writer)
                    before += input_nodes(operand)
                    node.input[0] = before[-1].output[0]
            for name, tensor in self._tensors.items():
                tensors.append(self._kept(name, tensor, writer))
                progress(4 * int(np.prod(tensor.dims, dtype=np.int64)))
        nodes = [n for node in graph.node for n in (*made.get(node.name, ()), node)]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(nodes)
        graph.initializer.extend(tensors)
        target.write_bytes(self._model.SerializeToString())
        return GraphReport(
            self._name, self._nodes, len(self._schemes), self._alphas, tuple(self._unscaled)
        )

    def _find_factors(self) -> None:
        walker = Walker(self._model.graph)
        groups: dict[str, list[Operand]] = {}
        for operand, scheme in self._schemes.values():
            if scheme.scaling != "none":
                groups.setdefault(operand.input, []).append(operand)
        for name, readers in groups.items():
            fold = walker.fold(readers)
            schemes = {self._schemes[r.node][1] for r in readers}
            if fold is None or len(schemes) > 1:
                self._unscaled.append(name)
                continue
            self._choose(name, readers, schemes.pop(), fold)

    def _choose(self, name: str, readers: list[Operand], scheme: Scheme, fold: Fold) -> None:
        recorded = self._statistics(name)
        weights = [read_floats(self._tensors[r.weight], self._folder) for r in readers]
        if scheme.scaling == "smooth":
            found = smoothing.smooth(
                recorded.sample_rows, weights, input_maximum=recorded.channel_maximum,
                numbers=FORMATS[scheme.weights],
            )  # fmt: skip
        else:
            # rounding to nearest stands in for the search of scales, which takes ten times as long
            found = awq.scale_for_blocks(
                recorded.sample_rows, weights, scheme.bits, scheme.block,
                symmetric=scheme.symmetric, mean_abs=recorded.channel_mean,
            )  # fmt: skip
        self._alphas[name] = found.alpha
        if found.alpha is not None:
            self._rows[name] = found.factors
            for target in (*fold.vectors, *((fold.matrix,) if fold.matrix else ())):
                self._divisors[target] = found.factors

    def _quantised(self, tensor: TensorProto, operand: Operand, scheme: Scheme) -> QuantizedWeight:
        weight = read_floats(tensor, self._folder)
        rows, columns = self._rows.get(operand.input), self._divisors.get(operand.weight)
        if rows is not None:
            weight = weight * rows[:, None]
        if columns is not None:
            weight = weight / columns
        if not scheme.block:
            axis = 0 if operand.op_type == "Conv" else 1
            return quantize_per_channel(weight, axis, FORMATS[scheme.weights])
        recorded = self._statistics(operand.input) if self._calibration or scheme.gptq else None
        factors = np.ones(operand.channels, np.float32) if rows is None else rows
        if scheme.gptq and recorded:
            if recorded.gram is None:
                raise InputError(
                    f"GPTQ needs the gram matrix of '{operand.input}' in graph '{self._name}', "
                    "which was not recorded; calibrate again with --gram"
                )
            gram = recorded.gram / np.outer(factors, factors)
            return quantize_gptq(
                weight, gram, scheme.bits, scheme.block,
                symmetric=scheme.symmetric, search=scheme.search,
            )  # fmt: skip
        importance = recorded.channel_mean_square / factors**2 if recorded else None
        if scheme.weights == "nvfp4":
            return quantize_nvfp4(weight, importance)
        return quantize_blocks(
            weight, scheme.bits, scheme.block,
            symmetric=scheme.symmetric, search=scheme.search, importance=importance,
        )  # fmt: skip

    def _input_tensors(
        self, operand: Operand, scheme: Scheme, data_type: int, writer: WeightWriter
    ) -> list[TensorProto]:
        """The scale and zero point of an input, from its statistics under the factors."""
        assert scheme.inputs
        recorded, factors = self._statistics(operand.input), self._rows.get(operand.input)
        histogram, numbers = recorded.histogram, FORMATS[scheme.weights]
        if factors is not None:
            histogram = Histogram()
            histogram.add(recorded.sample_rows / factors)
        if factors is not None and scheme.inputs == "maximum":
            amax = float(np.max(recorded.channel_maximum / factors))
        else:
            amax = range_of(scheme.inputs, histogram, numbers)
        scale = np.array(scale_of(amax, numbers), np.float32)
        return input_tensors(operand, scale, numbers, data_type, writer)

    def _kept(self, name: str, tensor: TensorProto, writer: WeightWriter) -> TensorProto:
        """A weight that stays in its type, divided where factors were folded into it."""
        divisor = self._divisors.get(name)
        if divisor is not None and is_float(tensor):
            values = read_floats(tensor, self._folder) / divisor
            return writer.floats(name, values, tensor.data_type)
        data = read_bytes(tensor, self._folder)
        return writer.tensor(name, tensor.data_type, tuple(tensor.dims), data)

    def _statistics(self, name: str) -> InputStatistics:
        if self._calibration is None:
            raise InputError(
                f"the recipe needs to know the input '{name}' of graph '{self._name}': record it "
                "with `janus-edge calibrate` and pass the file with --calibration"
            )
        return self._calibration.statistics(self._name, name)


def _fitting(scheme: Scheme, operand: Operand, graph: str) -> Scheme:
    """The scheme with a block that divides K, where a smaller one does: TensorRT wants that."""
    if not scheme.block:
        return scheme
    if operand.op_type == "Conv":
        raise InputError(
            f"'{graph}/{operand.node}' is a convolution, whose weights take one scale per channel: "
            "give it a rule of its own with block 0, or keep it in float"
        )
    return replace(scheme, block=scheme.block_for(operand.channels))
