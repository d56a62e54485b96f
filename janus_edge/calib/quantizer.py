"""Rewriting one graph: integers and explicit Q/DQ nodes in place of float weights.

    W [K, N]          ->  DequantizeLinear(W.quantized, W.scale)
    X (scheme.inputs) ->  DequantizeLinear(QuantizeLinear(X, X.scale))

Every node has a pair of its own before it, though others read the same input: ONNX Runtime 1.31 fuses
a signed pair only into a single reader. Every int8 zero point is written out, which its exact
products on x86 ask for (``session.x64quantprecision``). Standard ONNX, so that ONNX Runtime and TensorRT read the same file. Weights pass through memory one
at a time (those of one input together, while factors for it are sought).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from janus_edge.calib import awq, smoothing
from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.folding import Fold, Walker
from janus_edge.calib.gptq import quantize_gptq
from janus_edge.calib.graph_weights import (
    WeightWriter,
    is_float,
    read_bytes,
    read_floats,
    stored_scales,
)
from janus_edge.calib.histogram import Histogram
from janus_edge.calib.integers import (
    BLOCKS,
    QuantizedWeight,
    quantize_blocks,
    quantize_per_channel,
)
from janus_edge.calib.operands import Operand, load_graph, operands_of
from janus_edge.calib.ranges import RANGES, scale_of
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
                    tensors += _weight_tensors(weight, tensor, writer)
                    before.append(_weight_node(weight, operand))
                    progress(4 * weight.values.size)
                node.input[1] = f"{operand.weight}.dequantized"
                if scheme.inputs:
                    if operand.input not in scales:
                        scales.add(operand.input)
                        tensors += self._input_tensors(operand, scheme, tensor.data_type, writer)
                    before += _input_nodes(operand)
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
                recorded.sample_rows, weights, input_maximum=recorded.channel_maximum
            )
        else:
            # rounding to nearest stands in for the search of scales, which takes ten times as long
            found = awq.scale_for_blocks(
                recorded.sample_rows, weights, _bits(scheme), scheme.block,
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
            return quantize_per_channel(weight, axis=0 if operand.op_type == "Conv" else 1)
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
                weight, gram, _bits(scheme), scheme.block,
                symmetric=scheme.symmetric, search=scheme.search,
            )  # fmt: skip
        importance = recorded.channel_mean_square / factors**2 if recorded else None
        return quantize_blocks(
            weight, _bits(scheme), scheme.block,
            symmetric=scheme.symmetric, search=scheme.search, importance=importance,
        )  # fmt: skip

    def _input_tensors(
        self, operand: Operand, scheme: Scheme, data_type: int, writer: WeightWriter
    ) -> list[TensorProto]:
        """The scale and zero point of an input, from its statistics under the factors."""
        assert scheme.inputs
        recorded, factors = self._statistics(operand.input), self._rows.get(operand.input)
        histogram = recorded.histogram
        if factors is not None:
            histogram = Histogram()
            histogram.add(recorded.sample_rows / factors)
        if factors is not None and scheme.inputs == "maximum":
            amax = float(np.max(recorded.channel_maximum / factors))
        else:
            amax = RANGES[scheme.inputs](histogram)
        scale = np.array(scale_of(amax), np.float32)
        zero = writer.integers(f"{operand.input}.zero_point", np.zeros((), np.int8), 8)
        return [writer.floats(f"{operand.input}.scale", scale, data_type), zero]

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
    smaller = [b for b in BLOCKS if b <= scheme.block]
    dividing = [b for b in smaller if operand.channels % b == 0]
    return replace(scheme, block=max(dividing, default=smaller[0]))


def _bits(scheme: Scheme) -> int:
    return 4 if scheme.weights == "int4" else 8


def _weight_tensors(
    weight: QuantizedWeight, original: TensorProto, writer: WeightWriter
) -> list[TensorProto]:
    name = original.name
    scales = stored_scales(weight, original.data_type)
    tensors = [
        writer.integers(f"{name}.quantized", weight.values, weight.bits),
        writer.floats(f"{name}.scale", scales, original.data_type),
    ]
    zeros = _zero_points(weight)
    if zeros is not None:
        tensors.append(writer.integers(f"{name}.zero_point", zeros, weight.bits))
    return tensors


def _zero_points(weight: QuantizedWeight) -> NDArray[np.int8] | None:
    """Those of the weight; zeros for symmetric int8, none for symmetric int4."""
    if weight.zero_points is None and weight.bits == 8:
        return np.zeros(weight.scales.shape, np.int8)
    return weight.zero_points


def _weight_node(weight: QuantizedWeight, operand: Operand) -> onnx.NodeProto:
    name = operand.weight
    inputs = [f"{name}.quantized", f"{name}.scale"]
    if _zero_points(weight) is not None:
        inputs.append(f"{name}.zero_point")
    blocked = {"block_size": weight.block} if weight.block else {}
    return helper.make_node(
        "DequantizeLinear", inputs, [f"{name}.dequantized"],
        name=f"{name}/DequantizeLinear", axis=weight.axis, **blocked,
    )  # fmt: skip


def _input_nodes(operand: Operand) -> list[onnx.NodeProto]:
    parameters = [f"{operand.input}.scale", f"{operand.input}.zero_point"]
    stem = f"{operand.node}/input"
    return [
        helper.make_node(
            "QuantizeLinear", [operand.input, *parameters], [f"{stem}.quantized"],
            name=f"{stem}/QuantizeLinear",
        ),
        helper.make_node(
            "DequantizeLinear", [f"{stem}.quantized", *parameters], [f"{stem}.dequantized"],
            name=f"{stem}/DequantizeLinear",
        ),
    ]  # fmt: skip
