"""TensorRT against ONNX Runtime, graph by graph, through Polygraphy's runners.

Polygraphy feeds both sides, allocates what a plan returns and knows the versions of TensorRT; what
passes is janus-edge's own rule (`compare.py`). ONNX Runtime runs the graph as it is written, without
optimisations, so that a quantised graph is computed in float as its Q/DQ pairs define it.

Where a graph misses its tolerance, ``first_bad_value`` looks for the layer: it cuts the graph at a
value, builds the part and compares that, halving the distance each time. Cutting, unlike marking a
value as an output, leaves the layers before it as TensorRT fuses them, but for the last one.

Not run on a GPU yet. With Polygraphy 0.53.6 the ONNX Runtime side is tested, and that TensorRT-RTX
builds the parts.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from janus_edge.compare import Difference, difference
from janus_edge.cuda_driver import why_no_gpu
from janus_edge.engines.graph_cut import Value, cut, float_values, read_graph, save_beside
from janus_edge.engines.new_rows import as_returned
from janus_edge.engines.parity_feeds import Feed
from janus_edge.errors import DependencyError, EngineError

#: What a call returned, by the outputs' names.
Outputs = Mapping[str, NDArray[Any]]


class Runners(Protocol):
    """Runs calls on ONNX Runtime and on TensorRT; every method raises EngineError where it cannot."""

    def reference(self, graph_file: Path, feeds: Sequence[Feed]) -> list[Outputs]:
        """What ONNX Runtime makes of each feed."""
        ...

    def plan(self, plan: Path, feeds: Sequence[Feed], profile: int | None) -> list[Outputs]:
        """What a plan makes of each feed, with the optimisation profile of that number."""
        ...

    def built(self, graph_file: Path, feeds: Sequence[Feed]) -> list[Outputs]:
        """What TensorRT makes of each feed with a graph of fixed shapes, which is built first."""
        ...


@dataclass(frozen=True, slots=True)
class GraphParity:
    """The largest difference of each output over all calls; truthy when all are within tolerance."""

    outputs: dict[str, Difference]

    def __bool__(self) -> bool:
        return all(self.outputs.values())


@dataclass(frozen=True, slots=True)
class BadValue:
    """Where a graph first misses its tolerance.

    ``before`` is the value made before it among those that pass, None where it is the first that was
    tried; ``builds`` how many parts were built.
    """

    value: Value
    difference: Difference
    before: Value | None
    builds: int


def compare_plan(
    runners: Runners,
    plan: Path,
    graph_file: Path,
    feeds: Sequence[Feed],
    float_type: str,
    *,
    profile: int | None = None,
) -> GraphParity:
    """Run ``plan`` and the graph that it was built from on the same calls.

    ``float_type`` chooses the tolerance. Raises EngineError where one cannot run, or returns other
    outputs than the other.
    """
    expected = runners.reference(graph_file, feeds)
    found = runners.plan(plan, feeds, profile)
    expected = [
        as_returned(theirs, feed, ours)
        for theirs, feed, ours in zip(expected, feeds, found, strict=True)
    ]
    return _judge(f"{plan} and {graph_file}", found, expected, float_type)


def first_bad_value(
    runners: Runners, graph_file: Path, feed: Feed, float_type: str, folder: Path
) -> BadValue | None:
    """The first value of a graph that TensorRT computes beyond the tolerance; None if none is found.

    Values are tried in the order in which they are made, by bisection: of two neighbours the first
    passes and the second does not. That is the culprit where errors stay once they are made; beside
    a branch that is bad alone, another may be found. Parts are written below ``folder`` and removed;
    on the bundle's file system they take no room. Raises EngineError as the runners do.
    """
    model = read_graph(graph_file)
    values = float_values(model)
    shapes = {name: array.shape for name, array in feed.items()}
    tried: dict[int, Difference] = {}

    def passes(index: int) -> bool:
        small = cut(model, values[index].name, shapes)
        feeds = [{one.name: feed[one.name] for one in small.graph.input}]
        with TemporaryDirectory(dir=folder) as own:
            part = save_beside(small, graph_file, Path(own), "part")
            expected, found = runners.reference(part, feeds), runners.built(part, feeds)
        judged = _judge(f"{graph_file} up to {values[index].name}", found, expected, float_type)
        tried[index] = judged.outputs[values[index].name]
        return bool(judged)

    good, bad = -1, len(values) - 1
    if not values or passes(bad):
        return None
    while bad - good > 1:
        middle = (good + bad) // 2
        if passes(middle):
            good = middle
        else:
            bad = middle
    return BadValue(values[bad], tried[bad], values[good] if good >= 0 else None, len(tried))


def _judge(
    what: str, found: Sequence[Outputs], expected: Sequence[Outputs], float_type: str
) -> GraphParity:
    worst: dict[str, Difference] = {}
    for ours, theirs in zip(found, expected, strict=True):
        if ours.keys() != theirs.keys():
            raise EngineError(
                f"{what}: one returns {', '.join(ours)} and the other {', '.join(theirs)}; build the "
                "engine again from this bundle"
            )
        for name, reference in theirs.items():
            try:
                one = difference(ours[name], reference, float_type, logits=name == "logits")
            except ValueError as shapes:
                raise EngineError(f"{what}: {name}: {shapes}; build the engine again") from shapes
            if name not in worst or _rank(one) < _rank(worst[name]):
                worst[name] = one
    return GraphParity(worst)


def _rank(one: Difference) -> float:
    return -one.max_abs if one.snr_db is None else one.snr_db


class PolygraphyRunners:
    """Polygraphy's runners for ONNX Runtime and, with ``target``, for TensorRT or TensorRT-RTX.

    One of the two in a process: Polygraphy chooses when it is imported. Raises DependencyError where
    Polygraphy or a package that it needs is not installed, EngineError where the other was chosen.
    """

    def __init__(self, target: str = "tensorrt") -> None:
        self._target = target
        config, rtx = _import("polygraphy.config", "polygraphy"), target == "tensorrt-rtx"
        if "polygraphy.backend.trt" in sys.modules and bool(config.USE_TENSORRT_RTX) != rtx:
            raise EngineError(
                f"Polygraphy runs the other TensorRT in this process: compare {target} in one of its own"
            )
        config.USE_TENSORRT_RTX = rtx  # read when its TensorRT modules are imported
        self._logger = _import("polygraphy.logger", "polygraphy").G_LOGGER
        self._errors = _import("polygraphy.exception", "polygraphy").PolygraphyException
        self._comparator = _import("polygraphy.comparator", "polygraphy").Comparator
        self._onnxrt = _import("polygraphy.backend.onnxrt", "polygraphy")

    def reference(self, graph_file: Path, feeds: Sequence[Feed]) -> list[Outputs]:
        """As :meth:`Runners.reference`; also raises DependencyError without ONNX Runtime."""
        ort = _import("onnxruntime", "cpu")

        def session() -> Any:
            options = ort.SessionOptions()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.log_severity_level = 3
            providers = ["CPUExecutionProvider"]
            return ort.InferenceSession(str(graph_file), options, providers=providers)

        return self._run(graph_file, self._onnxrt.OnnxrtRunner(session), feeds)

    def plan(self, plan: Path, feeds: Sequence[Feed], profile: int | None) -> list[Outputs]:
        """As :meth:`Runners.plan`."""
        trt = self._tensorrt()
        engine = trt.EngineFromPath(str(plan))
        return self._run(plan, trt.TrtRunner(engine, optimization_profile=profile), feeds)

    def built(self, graph_file: Path, feeds: Sequence[Feed]) -> list[Outputs]:
        """As :meth:`Runners.built`: strongly typed, attention decomposable, no TF32."""
        trt = self._tensorrt()
        network, options = self.network(trt, graph_file), self.options(trt)
        engine = trt.EngineFromNetwork(network, config=options)
        return self._run(graph_file, trt.TrtRunner(engine), feeds)

    def network(self, trt: Any, graph_file: Path) -> Any:
        """What parses ``graph_file``; ``trt`` is Polygraphy's TensorRT backend."""
        network = trt.NetworkFromOnnxPath(str(graph_file), strongly_typed=True)
        if hasattr(importlib.import_module(self._module), "IAttentionInputLayer"):
            network = trt.SetDecomposableAttentions(network)
        return network

    def options(self, trt: Any) -> Any:
        """What builds a configuration without TF32, which both have on at first."""
        made = trt.CreateConfig()
        if self._target == "tensorrt-rtx":
            made = _import("polygraphy.backend.tensorrt_rtx", "polygraphy").CreateConfigRTX()
        flag = importlib.import_module(self._module).BuilderFlag.TF32
        return trt.PostprocessConfig(made, lambda _, network, config: config.clear_flag(flag))

    @property
    def _module(self) -> str:
        return "tensorrt_rtx" if self._target == "tensorrt-rtx" else "tensorrt"

    def _tensorrt(self) -> Any:
        """Polygraphy's TensorRT backend, where there is a GPU to run on."""
        _import(self._module, "rtx" if self._target == "tensorrt-rtx" else "tensorrt")
        reason = why_no_gpu()
        if reason:
            raise EngineError(f"{self._target} runs on a GPU: {reason}")
        return _import("polygraphy.backend.trt", "polygraphy")

    def _run(self, what: Path, runner: Any, feeds: Sequence[Feed]) -> list[Outputs]:
        with self._errors_of(what):
            (_, results), *_ = self._comparator.run([runner], data_loader=list(feeds))
            return [{name: np.asarray(array) for name, array in one.items()} for one in results]

    @contextmanager
    def _errors_of(self, what: Path) -> Iterator[None]:
        """Polygraphy prints nothing, and what fails below it says which file."""
        try:
            with self._logger.verbosity(self._logger.CRITICAL):
                yield
        except self._errors as failure:
            raise EngineError(
                f"{what}: Polygraphy cannot run it ({failure}); see what it says with "
                f"`polygraphy run {what} -v`"
            ) from failure
        except Exception as failure:  # ONNX Runtime's have no common base but this
            raise EngineError(f"{what}: failed while running ({failure})") from failure


def _import(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise DependencyError.missing((missing.name or module).split(".")[0], extra) from missing
