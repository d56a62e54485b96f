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
from janus_edge.engine_manifest import GraphBuild, LanguagePlan, Profile
from janus_edge.engines.build import BuiltGraph, check_recipe
from janus_edge.engines.lowering import cache_mask, joined_projections, query_scale, wide_norms
from janus_edge.engines.lowering.lowered_file import Passes, lower_graph, write_graph
from janus_edge.engines.lowering.passes import Pass
from janus_edge.engines.lowering.passes import load as load_graph
from janus_edge.engines.tensorrt.api import TensorRT, load
from janus_edge.engines.tensorrt.build import BuiltPlan
from janus_edge.engines.tensorrt.built_plans import OPTION as PLANS
from janus_edge.engines.tensorrt.built_plans import BuiltPlans
from janus_edge.engines.tensorrt.options import known_capabilities
from janus_edge.engines.tensorrt.own_process import build_apart
from janus_edge.engines.tensorrt.profile_option import parse_profile
from janus_edge.engines.tensorrt.profiles import Profile as Shapes
from janus_edge.engines.tensorrt.request import BuildsPlans, PlanRequest
from janus_edge.engines.tensorrt.timing_cache import TimingCache
from janus_edge.engines.tensorrt.workspace import OPTION as WORKSPACE
from janus_edge.engines.tensorrt.workspace import default_workspace, in_words, parse_workspace
from janus_edge.errors import BackendError, EngineError, JanusEdgeError
from janus_edge.graphs import Graph, Port, engine_signature, signature
from janus_edge.manifest import GraphEntry
from janus_edge.progress import Row
from janus_edge.target_limits import capability_refusal, unusual_blocks

_LOG = logging.getLogger(__name__)

_MASK = Pass("cache_mask", cache_mask.rewrite)
_SCALE = Pass("query_scale", query_scale.rewrite)
_NORMS = Pass("wide_norms", wide_norms.rewrite, expected=False)  # float32 needs no change
_JOIN = Pass("joined_projections", joined_projections.rewrite, expected=False)

#: The passes of each graph, in order. Projections to which a recipe gives different schemes stay
#: separate. Nothing is folded, since TensorRT does that itself.
PASSES = {
    **dict.fromkeys(Graph, ()),
    Graph.LANGUAGE_MODEL: (_MASK, _SCALE, _JOIN),
    Graph.VISION_ENCODER: (_NORMS, _SCALE, _JOIN),
    Graph.VQ_ENCODER: (_NORMS, _SCALE),
    Graph.VQ_DECODER: (_NORMS, _SCALE),
}


class TensorRTTarget:
    """Builds plans for GPUs of ``capabilities``, or for the machine's own.

    TensorRT-RTX builds for the given compute capabilities (by default its usual ones) and needs no GPU.
    TensorRT builds for this machine's GPU and keeps its timing cache in the folder ``timings``.
    ``profile`` is the text of the command line. ``dump`` is a folder for the networks as text,
    ``workspace`` the text of a limit for a layer's scratch memory (`engines/tensorrt/workspace.py`).
    ``plans`` is a folder of plans that trtexec built, which are used as they are. Raises InputError for a
    limit that is not a size, and for a profile that a model of ``config`` does not take.
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
        workspace: str = "",
        plans: Path | None = None,
    ) -> None:
        self.name, self._config = name, config
        #: Builds a plan, by default in a separate process. Tests with a fake TensorRT module
        #: replace it by `request.build_here`.
        self.build_plan: BuildsPlans = BuiltPlans(plans) if plans else build_apart
        #: The profile as text on the command line; empty for the default.
        self.asked_profile, self._shapes = profile, parse_profile(profile, config)
        self._asked_workspace = parse_workspace(workspace) if workspace else None
        self._asked, self._timings, self._dump = tuple(capabilities), timings, dump

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """Profiles of the language model's plans, from which the other graphs' shapes follow."""
        return self._shapes.manifest_entries()

    def plans_of(self, graph: Graph) -> dict[str, Shapes]:
        """The profile of each plan of ``graph``, by the plan's name."""
        if graph is Graph.LANGUAGE_MODEL:
            return self._shapes.language_plans()
        return {graph.value: self._shapes}

    @property
    def asked_workspace(self) -> str:
        """The requested limit of a layer's scratch memory; empty for none."""
        return in_words(self._asked_workspace) if self._asked_workspace else ""

    @property
    def options(self) -> dict[str, str]:
        """The options --workspace and --plans, if given."""
        found = {WORKSPACE: in_words(self._workspace)} if self._workspace else {}
        if isinstance(self.build_plan, BuiltPlans):
            found[PLANS] = str(self.build_plan.folder.absolute())
        return found

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
        """Like :meth:`check_bundle`; also raise EngineError if TensorRT is too old or a GPU is missing.

        Also InputError for a compute capability that cannot be built for, and DependencyError.
        """
        self.check_bundle(bundle)
        self._check_version(self._tensorrt)
        why = capability_refusal(bundle.manifest.recipe, self.compute_capability.split(", "))
        if why:
            raise EngineError(f"{bundle.path}: {why}")
        _LOG.info("%s builds for compute capability %s", self._tensorrt, self.compute_capability)

    def check_bundle(self, bundle: Bundle) -> None:
        """Raise EngineError for a recipe that the target does not take; TensorRT is not needed."""
        check_recipe(self.name, bundle)
        self._shapes.check(bundle.manifest.config)
        for block in unusual_blocks(bundle.manifest.recipe):
            _LOG.warning(
                "%s: has int4 weights in blocks of %d, but TensorRT documents only 64 and 128 (quantise "
                "with --for %s)", bundle.path, block, self.name,
            )  # fmt: skip

    def build(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        """Parse and build ``graph`` into ``graphs/NAME.plan``.

        The language model is built once for each of its plans.
        """
        plans = self.plans_of(graph)
        if len(plans) > 1:
            _LOG.info("%s is built %d times: %s", graph.value, len(plans), ", ".join(plans))
        ports, told = engine_signature(graph, self._config, self.name), {}
        row.state("rewrite")
        with self.lowered(bundle.graph(graph), graph, folder) as (source, passes):
            for name, shapes in plans.items():
                if len(plans) > 1:
                    row.state(name)
                built = self._plan(bundle, graph, source, folder, name, shapes, row)
                told[name] = _told(built, passes)
        first, *_ = plans
        made = GraphEntry(_file(first), (), ports.inputs, ports.outputs)
        several = tuple(
            LanguagePlan(name, _file(name), shapes.plan_entries(), told[name])
            for name, shapes in plans.items()
            if graph is Graph.LANGUAGE_MODEL
        )
        return BuiltGraph(made, told[first], several)

    def _plan(
        self, bundle: Bundle, graph: Graph, source: Path, folder: Path, name: str, shapes: Shapes,
        row: Row,
    ) -> BuiltPlan:  # fmt: skip
        """Build the plan ``name`` of ``graph`` from its lowered file."""
        timings = self._timing_cache
        asked = PlanRequest(
            self.name,
            source,
            graph,
            bundle.manifest.config,
            shapes,
            folder / _file(name),
            capabilities=self._capabilities,
            timing_cache=timings.read() if timings else None,
            workspace=self._workspace,
            dump=self._dump and self._dump / f"{name}.txt",
        )
        try:
            built = self.build_plan(asked, row)
        except JanusEdgeError as failure:
            # the lowered file is gone when the message is read
            named = str(failure).replace(str(source), str(bundle.graph(graph)))
            raise type(failure)(named) from failure
        if timings and built.timing_cache is not None:
            timings.keep(built.timing_cache)
        for warning in built.warnings:
            _LOG.info("%s: %s", name, warning)
        return built

    def _check_version(self, tensorrt: TensorRT) -> None:
        """Raise EngineError for a version whose parser lacks operators of canonical graphs."""
        if not (tensorrt.features.attention and tensorrt.features.cache_update):
            fix = "build with --target tensorrt-10.3, or install TensorRT 10.15 or newer"
            if self.name == "tensorrt-rtx":
                fix = "update it with  pip install --upgrade 'janus-edge[rtx]'"
            raise EngineError(
                f"{tensorrt} has no attention and no cache that is updated in place, which {self.name} "
                f"builds upon: {fix}"
            )

    @contextmanager
    def lowered(self, source: Path, graph: Graph, folder: Path) -> Iterator[tuple[Path, Passes]]:
        """Return the ONNX file to parse for the graph in ``source``, and what each pass did.

        The file is ``source`` itself if no pass changed it, else a temporary file in ``folder``. Raises
        LoweringError.
        """
        model = load_graph(source)
        passes = lower_graph(model, graph.value, self._passes(graph), self._changed_outputs(graph))
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
        """Raise LoweringError for what the parser would refuse; here the parser does that itself."""

    def _changed_outputs(self, graph: Graph) -> tuple[Port, ...] | None:
        """The outputs that ``graph`` must have after the passes; None if they do not change."""
        wanted = engine_signature(graph, self._config, self.name)
        return None if wanted == signature(graph, self._config) else wanted.outputs

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

    @property
    def _workspace(self) -> int | None:
        return self._asked_workspace or default_workspace(self._gpu)

    @cached_property
    def _timing_cache(self) -> TimingCache | None:
        if self._timings is None or self._gpu is None:
            return None
        return TimingCache(self._timings, self._tensorrt.tool, self._tensorrt.version, self._gpu)


def _file(name: str) -> str:
    return f"graphs/{name}.plan"


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
