"""The targets `tensorrt` and `tensorrt-rtx`: every graph of a bundle rewritten and built into a plan."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnx_ir as ir

from janus_edge import __version__
from janus_edge.bundle import Bundle
from janus_edge.config import JanusConfig
from janus_edge.cuda_driver import Gpu, first_gpu
from janus_edge.engine_manifest import GraphBuild, Profile
from janus_edge.engines.build import BuiltGraph
from janus_edge.engines.lowering import cache_mask, joined_projections, query_scale, wide_norms
from janus_edge.engines.lowering.lowered_file import Passes, lower_graph, write_graph
from janus_edge.engines.lowering.passes import Pass
from janus_edge.engines.lowering.passes import load as load_graph
from janus_edge.engines.tensorrt.api import TensorRT, load
from janus_edge.engines.tensorrt.build import BuiltPlan, build_plan
from janus_edge.engines.tensorrt.options import known_capabilities
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.engines.tensorrt.timing_cache import TimingCache
from janus_edge.errors import BackendError, EngineError
from janus_edge.graphs import Graph
from janus_edge.manifest import GraphEntry
from janus_edge.progress import Row
from janus_edge.weight_streaming import OPTION, parse_budget

_LOG = logging.getLogger(__name__)

_MASK = Pass("cache_mask", cache_mask.rewrite)
_SCALE = Pass("query_scale", query_scale.rewrite)
_NORMS = Pass("wide_norms", wide_norms.rewrite, expected=False)  # there is nothing to do in float32
_JOIN = Pass("joined_projections", joined_projections.rewrite, expected=False)

#: What each graph needs, in order. A recipe may give projections different schemes, and then they stay
#: apart. Nothing is folded: TensorRT does that itself.
PASSES = {
    **dict.fromkeys(Graph, ()),
    Graph.LANGUAGE_MODEL: (_MASK, _SCALE, _JOIN),
    Graph.VISION_ENCODER: (_NORMS, _SCALE, _JOIN),
    Graph.VQ_ENCODER: (_NORMS, _SCALE),
    Graph.VQ_DECODER: (_NORMS, _SCALE),
}


class TensorRTTarget:
    """Builds plans for GPUs of ``capabilities``, or for the machine's own.

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
            "onnx-ir": ir.__version__,
            self._tensorrt.tool: self._tensorrt.version,
        }
        if self._gpu:  # a plan is for one model of GPU, not for all of its compute capability
            found |= {"gpu": self._gpu.name, "cuda-driver": self._gpu.cuda}
        return found

    def check(self, bundle: Bundle) -> None:
        """Raise EngineError for zero points, an int8 cache, a TensorRT that is too old, or a missing GPU.

        Also InputError for a compute capability that cannot be built for, and DependencyError.
        """
        schemes = [rule.scheme for rule in bundle.manifest.recipe.rules if rule.scheme]
        if not all(scheme.symmetric for scheme in schemes):
            raise EngineError(
                f"{bundle.path}: its weights have zero points, which TensorRT does not take; quantise "
                "the float bundle with --symmetric"
            )
        if bundle.manifest.recipe.cache != "float":
            raise EngineError(
                f"{bundle.path}: its KV cache is {bundle.manifest.recipe.cache}, which was never tried "
                "with TensorRT; quantise the float bundle without -int8-cache"
            )
        self._check_version(self._tensorrt)
        self._shapes.check(bundle.manifest.config)
        _LOG.info("%s builds for compute capability %s", self._tensorrt, self.compute_capability)

    def build(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        """Parse ``graph`` and build it; its plan is ``graphs/NAME.plan``."""
        entry, file = bundle.manifest.graphs[graph.value], f"graphs/{graph.value}.plan"
        timings = self._timing_cache
        row.state("rewrite")
        with self.lowered(bundle.graph(graph), graph, folder) as (source, passes):
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
    def lowered(self, source: Path, graph: Graph, folder: Path) -> Iterator[tuple[Path, Passes]]:
        """The ONNX file to parse for the graph in ``source``, and what each pass did.

        ``source`` itself if no pass changed it; else a file below ``folder``, removed at the end. Raises
        LoweringError.
        """
        model = load_graph(source)
        passes = lower_graph(model, graph.value, self._passes(graph))
        self._check_lowered(graph, model)
        if not any(report.changed for report in passes.values()):
            yield source, passes
            return
        with TemporaryDirectory(prefix=".lowered-", dir=folder) as scratch:
            path = Path(scratch) / f"{graph.value}.onnx"
            write_graph(model, path)
            del model
            yield path, passes

    def _passes(self, graph: Graph) -> tuple[Pass, ...]:
        return PASSES[graph]

    def _check_lowered(self, graph: Graph, model: ir.Model) -> None:
        """Raise LoweringError for what the parser would refuse; it is asked to say so itself here."""

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
        attention=built.attention,
        notes=built.notes,
    )
