"""ONNX Runtime's CUDA provider as a backend: an engine folder on one GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.bundle import Bundle
from janus_edge.config import JanusConfig
from janus_edge.engine import Engine
from janus_edge.errors import BackendError
from janus_edge.graphs import Graph
from janus_edge.runtime.cuda.bandwidth import copy_bandwidth
from janus_edge.runtime.cuda.device import Device as Gpu
from janus_edge.runtime.image_decoding import ImageRequest
from janus_edge.runtime.ort_cuda import image_loop
from janus_edge.runtime.ort_cuda.image_step import STEP_GRAPHS
from janus_edge.runtime.ort_cuda.provider import Device, Provider
from janus_edge.runtime.ort_cuda.session import OrtDeviceSession

#: Steps that may be captured at once. A CUDA graph takes memory of the GPU and is only freed with its
#: session: the CUDA provider of 1.31.1 does nothing when it is asked to release one.
MOST_CAPTURED = 16


class OrtCudaBackend:
    """Graphs of an engine, opened as they are asked for, on the first GPU that the driver shows.

    ``cuda_graph`` lets ONNX Runtime capture a step of painting and replay it. ``device`` 'cpu' is
    for tests: everything but the capture, on memory of the host. Raises DependencyError without
    ONNX Runtime's CUDA provider, EngineError for an engine of another version, with the command
    that builds it again, and BackendError without a GPU.
    """

    def __init__(self, bundle: Bundle, *, cuda_graph: bool = True, device: Device = "cuda") -> None:
        recipe = bundle.manifest.recipe
        self._bundle = bundle
        self.provider = Provider(device, cuda_graph=cuda_graph)
        if isinstance(bundle, Engine):
            bundle.check_tool("onnxruntime", self.provider.ort.__version__)
        self.float_dtype: np.dtype[Any] = np.dtype(recipe.float_type)
        self.cache_dtype = self.float_dtype if recipe.cache == "float" else np.dtype(recipe.cache)
        self._sessions: dict[Graph, OrtDeviceSession] = {}
        self._captured: dict[object, int] = {}
        self._graph_ids = 0
        self._gpu = Gpu() if device == "cuda" else None  # before anything is allocated

    def session(self, graph: Graph) -> OrtDeviceSession:
        """The session of ``graph``, opened (and its files verified) at the first call."""
        if graph not in self._sessions:
            self._sessions[graph] = OrtDeviceSession(
                self.provider,
                self._bundle.graph(graph),
                captured=graph in STEP_GRAPHS,
                quantised=self._bundle.manifest.recipe.quantised,
            )
        return self._sessions[graph]

    def graph_id(self, places: object) -> int:
        """The id under which a step of painting on ``places`` is captured, or was before.

        No id is given twice. Where too many steps were captured, the sessions of the step are opened
        anew; a painting that is under way is captured again.
        """
        if places not in self._captured:
            if len(self._captured) == MOST_CAPTURED and self.provider.cuda_graph:
                self._captured.clear()
                for graph in STEP_GRAPHS:
                    self.session(graph).reopen()
            self._graph_ids += 1
            self._captured[places] = self._graph_ids
        return self._captured[places]

    def image_codes(
        self, config: JanusConfig, request: ImageRequest
    ) -> Iterator[NDArray[np.int64]]:
        """The codes [P] of every position in turn, as the loop over sessions finds them."""
        return image_loop.image_codes(config, self, request)

    def device_memory_peak(self) -> int:
        """Bytes of the GPU's memory at most, since it was opened; other processes' count, too.

        ONNX Runtime's arenas give nothing back, so what is taken now is what was taken at most.
        Raises BackendError on another device.
        """
        gpu = self._current_gpu()
        gpu.note_memory()
        return gpu.peak

    def read_bandwidth(self) -> float:
        """Bytes per second that the GPU's memory gives, measured now by a copy on the device.

        Raises BackendError on another device.
        """
        return copy_bandwidth(self._current_gpu())

    def close(self) -> None:
        """Free all sessions; a later call opens them again."""
        self._sessions.clear()
        self._captured.clear()
        gpu, self._gpu = self._gpu, None
        if gpu is not None:
            gpu.close()

    def _current_gpu(self) -> Gpu:
        """The GPU, for the calling thread."""
        if self.provider.device != "cuda":
            raise BackendError("there is no GPU to measure: the device is the CPU")
        if self._gpu is None:
            self._gpu = Gpu()
        self._gpu.make_current()
        return self._gpu
