"""The targets `tensorrt` and `tensorrt-rtx`: every graph of a bundle built into a plan."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import onnx

from janus_edge import __version__
from janus_edge.bundle import Bundle
from janus_edge.config import JanusConfig
from janus_edge.cuda_driver import Gpu, first_gpu
from janus_edge.engine_manifest import GraphBuild, PassReport, Profile
from janus_edge.engines.build import BuiltGraph, check_recipe
from janus_edge.engines.tensorrt.api import TensorRT, load
from janus_edge.engines.tensorrt.build import BuiltPlan, build_plan
from janus_edge.engines.tensorrt.options import known_capabilities
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.engines.tensorrt.timing_cache import TimingCache
from janus_edge.errors import BackendError, EngineError
from janus_edge.graphs import Graph
from janus_edge.manifest import GraphEntry
from janus_edge.progress import Row
from janus_edge.target_limits import capability_refusal, unusual_blocks
from janus_edge.weight_streaming import OPTION, parse_budget

_LOG = logging.getLogger(__name__)

#: What was done to a graph before it was parsed, by the pass' name.
Passes = dict[str, PassReport]


class TensorRTTarget:
    """Builds plans from canonical graphs, for GPUs of ``capabilities`` or for the machine's own.

    TensorRT-RTX builds for the compute capabilities that it is told (its usual ones, if none) and
    needs no GPU; TensorRT builds for this machine's GPU, whose timing cache is kept in the folder
    ``timings``. ``profile`` is in the words of the command line; ``dump`` is a folder for the
    networks as text, ``weight_streaming`` a budget for the language model's weights on the GPU
    (`janus_edge/weight_streaming.py`). Raises InputError for a profile that a model of ``config``
    does not take, and for a budget that is none.
    """

    def __init__(
        self,
        name: str,
        config: JanusConfig,
        *,
        profile: str = "",
        capabilities: Sequence[str] = (),
        timings: Path | None = None,
        dump: Path | None = None,
        weight_streaming: str = "",
    ) -> None:
        self.name = name
        self._streaming = parse_budget(weight_streaming) if weight_streaming else ""
        self._shapes = parse_profile(profile, config)
        self._asked, self._timings, self._dump = tuple(capabilities), timings, dump

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """Of the language model: prefill and decode. The other graphs' shapes follow from these."""
        return self._shapes.manifest_entries()

    @property
    def options(self) -> dict[str, str]:
        """The budget of weight streaming, where it was asked for."""
        return {OPTION: self._streaming} if self._streaming else {}

    @property
    def compute_capability(self) -> str:
        """Those that it builds for, separated by commas."""
        return self._gpu.compute_capability if self._gpu else ", ".join(self._capabilities)

    def tools(self) -> dict[str, str]:
        """Versions of janus-edge, of what reads and builds the graphs, and of the GPU's driver."""
        found = {
            "janus-edge": __version__,
            "onnx": onnx.__version__,
            self._tensorrt.tool: self._tensorrt.version,
        }
        if self._gpu:  # a plan is for one model of GPU, not for all of its compute capability
            found |= {"gpu": self._gpu.name, "cuda-driver": self._gpu.cuda}
        return found

    def check(self, bundle: Bundle) -> None:
        """Raise EngineError for a recipe that it does not take, a TensorRT that is too old, or a missing GPU.

        Also InputError for a compute capability that cannot be built for, and DependencyError.
        """
        recipe = bundle.manifest.recipe
        check_recipe(self.name, bundle)
        self._check_version(self._tensorrt)
        self._shapes.check(bundle.manifest.config)
        why = capability_refusal(recipe, self.compute_capability.split(", "))
        if why:
            raise EngineError(f"{bundle.path}: {why}")
        for block in unusual_blocks(recipe):
            _LOG.warning(
                "%s: has int4 weights in blocks of %d; TensorRT documents 64 and 128 (quantise with "
                "--for %s)", bundle.path, block, self.name,
            )  # fmt: skip
        _LOG.info("%s builds for compute capability %s", self._tensorrt, self.compute_capability)

    def build(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        """Parse ``graph`` and build it; its plan is ``graphs/NAME.plan``."""
        entry, file = bundle.manifest.graphs[graph.value], f"graphs/{graph.value}.plan"
        timings = self._timing_cache
        with self._lowered(bundle, graph, folder, row) as (source, passes):
            built = build_plan(
                source,
                graph,
                bundle.manifest.config,
                self._shapes,
                self._tensorrt,
                folder / file,
                capabilities=self._capabilities,
                timing_cache=timings.read() if timings else None,
                # the others are small
                weight_streaming=bool(self._streaming) and graph is Graph.LANGUAGE_MODEL,
                dump=self._dump and self._dump / f"{graph.value}.txt",
                progress=row,
            )
        if timings and built.timing_cache is not None:
            timings.keep(built.timing_cache)
        for warning in built.warnings:
            _LOG.info("%s: %s", graph.value, warning)
        made = GraphEntry(file, (), entry.inputs, entry.outputs)
        return BuiltGraph(made, _told(built, passes))

    def _check_version(self, tensorrt: TensorRT) -> None:
        """Raise EngineError for a version whose parser lacks operators of canonical graphs."""
        if not (tensorrt.features.attention and tensorrt.features.cache_update):
            raise EngineError(
                f"{tensorrt} has no attention and no cache that is updated in place, which {self.name} "
                "builds upon: build with --target tensorrt-10.3, or install TensorRT 10.15 or newer"
            )

    @contextmanager
    def _lowered(
        self, bundle: Bundle, graph: Graph, folder: Path, row: Row
    ) -> Iterator[tuple[Path, Passes]]:
        """The ONNX file to parse, which may lie below ``folder`` meanwhile."""
        yield bundle.graph(graph), {}

    @cached_property
    def _tensorrt(self) -> TensorRT:
        return load(self.name)

    @cached_property
    def _capabilities(self) -> tuple[str, ...]:
        """Those to build for without their GPU; none where it is the machine's own."""
        return known_capabilities(self._tensorrt, self._asked)

    @cached_property
    def _gpu(self) -> Gpu | None:
        """The GPU that is built on; None where none is needed."""
        if self._capabilities:
            return None
        try:
            return first_gpu()
        except BackendError as missing:
            raise EngineError(
                f"{self._tensorrt} builds on the GPU that it builds for, and {missing}; or build with "
                "--target tensorrt-rtx, which needs no GPU"
            ) from missing

    @cached_property
    def _timing_cache(self) -> TimingCache | None:
        if self._timings is None or self._gpu is None:
            return None
        return TimingCache(self._timings, self._tensorrt.tool, self._tensorrt.version, self._gpu)


def _told(built: BuiltPlan, passes: Passes) -> GraphBuild:
    return GraphBuild(
        built.weight_bytes,
        built.device_bytes,
        passes,
        built.device_weight_bytes,
        built.precisions,
    )
