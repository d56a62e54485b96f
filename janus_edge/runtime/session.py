"""Sessions: one opened graph each, called through buffers that are bound once.

A backend is anything that fits :class:`Backend`; the decoding loops know no more of it. Here is
ONNX Runtime's CPU provider.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from janus_edge.bundle import Bundle
from janus_edge.cpu_session import cpu_session
from janus_edge.engine import Engine
from janus_edge.errors import BackendError, DependencyError, EngineError, InputError
from janus_edge.graphs import Graph
from janus_edge.processor import INT8_PRODUCTS, int8_products, processor
from janus_edge.tensorrt_module import MODULES

if TYPE_CHECKING:
    import onnxruntime as ort

Array = NDArray[Any]

#: The oldest ONNX Runtime that was tried.
_OLDEST = (1, 31)

#: Runs a graph on the buffers it was bound to.
Call = Callable[[], None]


class Session(Protocol):
    """One opened graph."""

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Call:
        """Tie buffers to the graph's names; the returned call reads and writes them in place.

        The buffers stay the caller's and must outlive the call. An output may be the very buffer
        of an input where the graph updates it (past and present of the KV cache).
        """
        ...


class Backend(Protocol):
    """Opens the graphs of one bundle on one device."""

    float_dtype: np.dtype[Any]

    def session(self, graph: Graph) -> Session:
        """The session of ``graph``, opened at the first call; raises BackendError."""
        ...

    def close(self) -> None:
        """Free what the sessions hold."""
        ...


class OrtCpuBackend:
    """ONNX Runtime on the CPU. ``threads`` 0 lets ONNX Runtime take one per physical core."""

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        self._bundle, self._threads = bundle, threads
        self._sessions: dict[Graph, OrtSession] = {}
        float_type = bundle.manifest.recipe.float_type
        if float_type == "bfloat16":
            raise BackendError(
                f"{bundle.path}: its graphs are bfloat16, for which ONNX Runtime has no CPU kernels; "
                "export with --precision fp32 (or fp16) for this machine"
            )
        if "nvfp4" in bundle.manifest.recipe.number_types:
            raise BackendError(
                f"{bundle.path}: its weights are nvfp4, and ONNX Runtime has no CPU kernels for them; "
                "quantise the float bundle with --recipe int4-weight for this machine"
            )
        self.float_dtype: np.dtype[Any] = np.dtype(float_type)
        cache = bundle.manifest.recipe.cache
        self.cache_dtype = self.float_dtype if cache == "float" else np.dtype(cache)

    def session(self, graph: Graph) -> OrtSession:
        """The session of ``graph``, opened (and its files verified) at the first call."""
        if graph not in self._sessions:
            path = self._bundle.graph(graph)
            self._sessions[graph] = OrtSession(
                path,
                threads=self._threads,
                quantised=self._bundle.manifest.recipe.quantised,
                small_floats=self._bundle.manifest.recipe.small_floats,
                spin=graph is Graph.LANGUAGE_MODEL,  # the one that runs most of the time
            )
        return self._sessions[graph]

    def close(self) -> None:
        """Free all sessions; a later call opens them again."""
        self._sessions.clear()


def open_backend(bundle: Bundle, *, threads: int = 0, cuda_graph: bool = True) -> Backend:
    """What runs ``bundle`` on this machine: for an engine, what it was built for.

    ``threads`` are the CPU's; ``cuda_graph`` lets a GPU replay a captured step of painting. Raises
    EngineError for an engine that does not fit, with the command that builds it again, and
    BackendError, DependencyError.
    """
    if isinstance(bundle, Engine):
        if bundle.manifest.target in MODULES:
            from janus_edge.runtime.tensorrt.backend import TensorRTBackend

            return TensorRTBackend(bundle, cuda_graph=cuda_graph)
        if bundle.manifest.target == "ort-cuda":
            from janus_edge.runtime.ort_cuda.backend import OrtCudaBackend

            return OrtCudaBackend(bundle, cuda_graph=cuda_graph)
        if bundle.manifest.target != "ort-cpu":
            raise EngineError(
                f"{bundle.path}: was built for {bundle.manifest.target!r}, which this version of "
                "janus-edge cannot run; upgrade janus-edge, or build an engine for ort-cpu"
            )
        prepacked = "prepack" in bundle.manifest.options
        bundle.check_tool("onnxruntime", _onnxruntime().__version__, exact=prepacked)
        if prepacked:
            bundle.check_tool("processor", processor(), exact=True)
        if bundle.manifest.recipe.int8_inputs:
            bundle.check_tool(INT8_PRODUCTS, int8_products(), exact=True)
    return OrtCpuBackend(bundle, threads=threads)


class OrtSession:
    """A graph opened by ONNX Runtime's CPU provider, as `cpu_session` does."""

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 0,
        quantised: bool = False,
        small_floats: bool = False,
        spin: bool = False,
    ) -> None:
        ort = _onnxruntime()
        if threads < 0:
            raise InputError(f"threads must be at least 0, found {threads}")
        self._ort, self._path = ort, path
        try:
            self._session = cpu_session(
                ort,
                path,
                threads=threads,
                quantised=quantised,
                small_floats=small_floats,
                spin=spin,
            )
        except Exception as failure:  # onnxruntime's exceptions have no common base but this
            raise BackendError(
                f"{path}: ONNX Runtime {ort.__version__} cannot open the graph ({failure}); "
                "check the bundle with `janus-edge verify`, or export it again"
            ) from failure

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Call:
        """As :meth:`Session.bind`; numpy memory is used as it is, without copies."""
        binding = self._session.io_binding()
        try:
            for name, array in inputs.items():
                binding.bind_ortvalue_input(name, self._value(name, array))
            for name, array in outputs.items():
                binding.bind_ortvalue_output(name, self._value(name, array))
        except Exception as failure:  # as above
            raise BackendError(f"{self._path}: cannot bind its buffers ({failure})") from failure
        # ONNX Runtime 1.31 was seen to keep numpy memory alive by itself, but does not promise it
        kept = (dict(inputs), dict(outputs))

        def call() -> None:
            assert kept
            try:
                self._session.run_with_iobinding(binding)
            except Exception as failure:  # as above
                raise BackendError(f"{self._path}: failed while running ({failure})") from failure

        return call

    def _value(self, name: str, array: Array) -> ort.OrtValue:
        if not array.flags.c_contiguous:
            raise ValueError(f"{name}: a bound buffer must be contiguous, this one would be copied")
        return self._ort.OrtValue.ortvalue_from_numpy(array)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as missing:
        raise DependencyError.missing("onnxruntime", "cpu") from missing
    check_version(onnxruntime.__version__)
    return onnxruntime


def check_version(version: str) -> None:
    """Raise BackendError when ONNX Runtime ``version`` is older than what was tried."""
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found < _OLDEST:
        raise BackendError(
            f"onnxruntime {version} is too old for opset 24 with an in-place cache, and older ones do "
            f"not confine a graph's weights to its folder; install "
            f"onnxruntime >= {'.'.join(map(str, _OLDEST))}"
        )
