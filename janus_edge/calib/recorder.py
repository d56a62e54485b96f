"""A backend that records what the quantisable nodes of every graph read while the real loop runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from janus_edge.bundle import Bundle
from janus_edge.calib.operands import load_graph, operands_of
from janus_edge.calib.statistics import InputStatistics
from janus_edge.errors import BackendError, InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.session import Call, OrtCpuBackend, Session

Array = NDArray[Any]
#: input tensor -> its statistics
Inputs = dict[str, InputStatistics]


class RecordingBackend:
    """ONNX Runtime on the CPU, with the inputs of quantisable nodes as outputs besides.

    ``statistics[graph][tensor]`` grows while the graphs run; nodes that read one tensor share its
    statistics. Of a picture's decoding steps, and of the head's calls that follow, the share
    ``fraction`` is recorded, evenly spaced; every other call is recorded whole. ``steps`` and
    ``recorded_steps`` count them. Rows must be of equal length, as those of one prompt are: a
    pad's values would count like a token's. Raises InputError for values that are not finite.
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
        self._bundle, self._threads, self._fraction = bundle, threads, fraction
        self.float_dtype = self._plain.float_dtype
        self.statistics: dict[str, Inputs] = {}
        for graph in Graph:
            inputs = {o.input: o for o in operands_of(load_graph(bundle.graph(graph)).graph)}
            if inputs:
                self.statistics[graph.value] = {
                    name: InputStatistics(
                        o.channels, axis=o.axis, row_limit=row_limit, seed=seed,
                        gram=gram and graph in (Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD),
                    )
                    for name, o in inputs.items()
                }  # fmt: skip
        self._sessions: dict[Graph, Session] = {}
        self._phase = 0.0
        self._recording = True
        self.steps = self.recorded_steps = 0

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

    def begin(self, phase: float) -> None:
        """Start an item of calibration data; ``phase`` in [0, 1) shifts which steps are recorded."""
        self._phase = phase

    def wanted(self, graph: Graph, inputs: Mapping[str, Array]) -> bool:
        """Whether the call that is about to run is recorded."""
        if graph is Graph.LANGUAGE_MODEL:
            self._recording = True
            rows, new, _ = inputs["inputs_embeds"].shape
            if new == 1 and rows > 1:  # an answer has one row, and few steps: all are recorded
                self._phase += self._fraction
                self._recording = self._phase >= 1
                self._phase %= 1
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
        path = bundle.graph(graph)
        model = load_graph(path)
        own = {i.name for i in model.graph.input}
        self._given = [name for name in inputs if name in own]
        self._made = [name for name in inputs if name not in own]
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
            given = kept[0]
            if not self._backend.wanted(self._graph, given):
                self._session.run_with_iobinding(plain)
                return
            for name in self._given:  # before the graph writes its cache
                self._add(name, given[name])
            self._session.run_with_iobinding(recording)
            found = recording.get_outputs()[len(outputs) :]
            for name, value in zip(self._made, found, strict=True):
                self._add(name, value.numpy())

        return call

    def _add(self, name: str, values: Array) -> None:
        try:
            self._inputs[name].add(values)
        except InputError as wrong:
            raise InputError(
                f"graph '{self._graph.value}', tensor '{name}': {wrong}; calibrate a float32 bundle "
                "and check it with `janus-edge parity`"
            ) from wrong

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
