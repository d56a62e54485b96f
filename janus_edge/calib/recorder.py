"""A backend that records what the quantisable nodes of every graph read while the real loop runs.

Also what the language model writes into its KV cache, token by token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from janus_edge.bundle import Bundle
from janus_edge.calib.cache_updates import as_rows, cache_updates
from janus_edge.calib.operands import load_graph, operands_of
from janus_edge.calib.statistics import InputStatistics
from janus_edge.errors import BackendError, InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.session import Call, OrtCpuBackend, Session, check_version

Array = NDArray[Any]
#: input tensor -> its statistics
Inputs = dict[str, InputStatistics]


class RecordingBackend:
    """ONNX Runtime on the CPU, with the inputs of quantisable nodes as outputs besides.

    ``statistics[graph][tensor]`` grows while the graphs run; nodes that read one tensor share its
    statistics. Of a picture's decoding steps, and of the head's calls that follow, the share
    ``fraction`` is recorded: of every 1 / ``fraction`` steps one, at a place that is drawn from
    ``seed``, since a fixed stride would meet the same columns of every row of a picture. Every
    other call is recorded whole. ``steps`` and ``recorded_steps`` count them. ``gram`` is for
    linear layers alone. Raises InputError for values that are not finite, and for rows of unequal
    length, of which the pads would count like tokens: give one prompt at a time.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        fraction: float = 0.25,
        seed: int = 0,
        row_limit: int = 256,
        gram: bool = False,
        threads: int = 0,
    ) -> None:
        self._plain = OrtCpuBackend(bundle, threads=threads)
        check_version(ort.__version__)
        self._bundle, self._threads, self._fraction, self._seed = bundle, threads, fraction, seed
        self.float_dtype = self._plain.float_dtype
        self.statistics: dict[str, Inputs] = {}
        for graph in Graph:
            model = load_graph(bundle.graph(graph)).graph
            recorded = {  # of these the maxima alone are asked for
                u.new: InputStatistics(u.heads * u.head_size, row_limit=1, seed=seed)
                for u in cache_updates(model)
            }
            for o in operands_of(model):
                recorded[o.input] = InputStatistics(
                    o.channels, axis=o.axis, row_limit=row_limit, seed=seed,
                    gram=gram and o.axis == -1,
                )  # fmt: skip
            if recorded:
                self.statistics[graph.value] = recorded
        self._sessions: dict[Graph, Session] = {}
        self._recording = True
        self.steps = self.recorded_steps = 0
        self.begin(0)

    def session(self, graph: Graph) -> Session:
        """The recording session of ``graph``, or a plain one where nothing can be quantised."""
        if graph.value not in self.statistics:
            return self._plain.session(graph)
        if graph not in self._sessions:
            self._sessions[graph] = _RecordingSession(
                self, self._bundle, graph, self.statistics[graph.value], self._threads
            )
        return self._sessions[graph]

    def close(self) -> None:
        """Free all sessions; what was recorded stays."""
        self._plain.close()
        self._sessions.clear()

    def begin(self, number: int) -> None:
        """Start item ``number`` of the calibration data, which chooses the steps recorded of it."""
        self._rng = np.random.default_rng([67, self._seed, number])
        self._progress, self._due = 0.0, float(self._rng.random())

    def end(self) -> None:
        """End an item: add up what waits, so that a recording may stop and go on between two.

        Sums in float32 depend on their grouping.
        """
        for inputs in self.statistics.values():
            for statistics in inputs.values():
                _ = statistics.gram

    def wanted(self, graph: Graph, inputs: Mapping[str, Array]) -> bool:
        """Whether the call that is about to run is recorded."""
        if graph is Graph.LANGUAGE_MODEL:
            self._recording = True
            rows, new, _ = inputs["inputs_embeds"].shape
            lengths = inputs["past_lengths"]
            if lengths.min() != lengths.max():
                raise InputError(
                    f"graph '{graph.value}': rows of {lengths.min()} to {lengths.max()} tokens in "
                    "one call, so that pads were recorded; record one prompt at a time"
                )
            if new == 1 and rows > 1:  # an answer has one row, and few steps: all are recorded
                self._progress += self._fraction
                self._recording = self._progress >= self._due
                if self._recording:
                    self._due = math.floor(self._due) + 1 + float(self._rng.random())
                self.steps += 1
                self.recorded_steps += self._recording
        if graph in (Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD, Graph.TEXT_HEAD):
            return self._recording
        return True


class _RecordingSession:
    """A graph whose calls either add to statistics or run as they always do."""

    def __init__(
        self, backend: RecordingBackend, bundle: Bundle, graph: Graph, inputs: Inputs, threads: int
    ) -> None:
        self._backend, self._graph, self._inputs = backend, graph, inputs
        self._path = path = bundle.graph(graph)
        model = load_graph(path)
        read = {port.name for port in model.graph.input}
        written = {port.name for port in model.graph.output}
        self._given = [name for name in inputs if name in read]
        self._written = [name for name in inputs if name in written]
        self._made = [name for name in inputs if name not in read | written]
        self._cached = {update.new for update in cache_updates(model.graph)}
        for name in self._made:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.parent)
        )
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as failure:  # onnxruntime's exceptions have no common base but this
            raise BackendError(
                f"{path}: cannot be opened for recording ({failure}); check the bundle with "
                "`janus-edge verify`"
            ) from failure

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Call:
        """As ``Session.bind``; recorded tensors are allocated by ONNX Runtime for each call."""
        plain, recording = self._binding(inputs, outputs), self._binding(inputs, outputs)
        for name in self._made:
            recording.bind_output(name, "cpu")
        kept = (dict(inputs), dict(outputs))

        def call() -> None:
            given, own = kept
            if not self._backend.wanted(self._graph, given):
                self._run(plain)
                return
            for name in self._given:  # before the graph writes its cache
                self._add(name, given[name])
            self._run(recording)
            for name in self._written:
                self._add(name, own[name])
            found = recording.get_outputs()[len(outputs) :]
            for name, value in zip(self._made, found, strict=True):
                self._add(name, value.numpy())

        return call

    def _run(self, binding: ort.IOBinding) -> None:
        try:
            self._session.run_with_iobinding(binding)
        except Exception as failure:  # as above
            raise BackendError(f"{self._path}: failed while recording ({failure})") from failure

    def _add(self, name: str, values: Array) -> None:
        try:
            self._inputs[name].add(as_rows(values) if name in self._cached else values)
        except InputError as wrong:
            raise InputError(f"graph '{self._graph.value}', tensor '{name}': {wrong}") from wrong

    def _binding(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> ort.IOBinding:
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, _value(array))
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, _value(array))
        return binding


def _value(array: Array) -> ort.OrtValue:
    assert array.flags.c_contiguous, "a bound buffer must be contiguous"
    return ort.OrtValue.ortvalue_from_numpy(np.asarray(array))
