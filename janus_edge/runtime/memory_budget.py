"""What a model takes of a machine whose processor and GPU share one memory, before it runs there.

A budget holds the weights of the graphs that a use opens, the KV cache, logits and noise, scratch
memory, and CUDA's context. Scratch memory is the builder's figure if an engine has one, else an estimate
(`scratch_bytes`). The context is an estimate (`CUDA_CONTEXT`). Text embeddings are not counted: they are
mapped from their file, and the system may drop their pages. Nor is the page cache of a plan that is being
opened, which Linux frees on demand; it is shown beside the total (`Budget.page_cache`). The system's own
need is an allowance, not a measurement (`system_bytes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from janus_edge.bundle import Bundle
from janus_edge.config import JanusConfig
from janus_edge.engine import Engine
from janus_edge.engine_manifest import EngineManifest, GraphBuild
from janus_edge.errors import InputError
from janus_edge.graphs import NEW_ROWS_ONLY, Graph
from janus_edge.recipe import Recipe
from janus_edge.runtime.kv_cache import cache_bytes, planned_capacity
from janus_edge.runtime.language_model import PREFILL_CHUNK
from janus_edge.runtime.memory import MemoryItem
from janus_edge.runtime.scratch_estimate import scratch_bytes
from janus_edge.weight_table import weight_bytes

if TYPE_CHECKING:
    from typing import Self

GIB = 1 << 30

#: Memory of the machines that are budgeted for.
MACHINES = tuple(size * GIB for size in (8, 16, 32, 64))

#: Tokens that a prompt is taken to have.
PROMPT = 64

#: Estimated memory of CUDA's context with the kernels of some graphs. Not measured here. Reported
#: elsewhere: 229 MiB when TensorRT starts CUDA on a Jetson's library (NVIDIA/TensorRT#2217), 274
#: MiB for PyTorch with modules loaded lazily, 636 MiB without (pytorch/pytorch#86509).
CUDA_CONTEXT = 300 << 20

#: The graphs that a use opens. Everything: painting, answering and encoding in one process.
USES: dict[str, tuple[Graph, ...]] = {
    "painting": (
        Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD, Graph.IMAGE_EMBEDDING, Graph.GUIDED_SAMPLER,
        Graph.VQ_DECODER,
    ),
    "answering": (Graph.VISION_ENCODER, Graph.LANGUAGE_MODEL, Graph.TEXT_HEAD),
    "everything": tuple(Graph),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlanBytes:
    """The language model's plans of one capacity: the weights of each, and the most scratch memory.

    ``scratch`` is None where no builder stated any.
    """

    weights: tuple[int, ...]
    scratch: int | None


@dataclass(frozen=True, slots=True)
class ModelBytes:
    """What budgets are computed from: dimensions, and bytes of weights per graph.

    ``scratch`` has the graphs whose scratch memory the builder stated. ``plans`` are an engine's plans of
    the language model by capacity, and replace its weights and scratch; empty if any capacity will do.
    Split plans (separate prefill and decode) each hold all weights. ``rows`` are the fewest and the most
    rows that the plans take. ``cuda`` is whether CUDA runs it. ``new_rows`` is the number of prefill
    tokens whose keys and values an engine returns outside the cache
    (`graphs.engine_signature`), else 0.
    """

    config: JanusConfig
    bytes_per_float: int
    bytes_per_cached: int
    weights: Mapping[Graph, int]
    text_embeddings: int
    scratch: Mapping[Graph, int]
    plans: Mapping[int, PlanBytes] = field(default_factory=dict)
    rows: tuple[int, int] | None = None
    cuda: bool = True
    new_rows: int = 0

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """A bundle's, by the sizes of its files, or an engine's, by what its manifest states."""
        manifest = bundle.manifest
        weights = {graph: bundle.graph_bytes(graph) for graph in Graph}
        plans: dict[int, PlanBytes] = {}
        scratch, rows, cuda, new_rows = {}, None, True, 0
        if isinstance(bundle, Engine):
            builds = {graph: bundle.manifest.builds[graph.value] for graph in Graph}
            weights = {graph: _weights(build) for graph, build in builds.items()}
            stated = {graph: build.workspace_bytes for graph, build in builds.items()}
            scratch = {graph: size for graph, size in stated.items() if size is not None}
            plans = _plans(bundle.manifest)
            if bundle.manifest.plans:
                rows = (
                    bundle.manifest.plans[0].rows.smallest,
                    bundle.manifest.plans[0].rows.largest,
                )
            cuda = bundle.manifest.target != "ort-cpu"
            if bundle.manifest.target in NEW_ROWS_ONLY:
                profiles = bundle.manifest.profiles
                longest = max((one.new_tokens.largest for one in profiles), default=0)
                new_rows = min(PREFILL_CHUNK, longest)
        table = manifest.files[manifest.text_embeddings.file].size
        floats, cached = manifest.recipe.bytes_per_float, manifest.recipe.bytes_per_cached
        return cls(
            manifest.config,
            floats,
            cached,
            weights,
            table,
            scratch,
            plans,
            rows,
            cuda,
            new_rows,
        )

    @classmethod
    def of_dimensions(cls, config: JanusConfig, recipe: Recipe) -> Self:
        """Those of a bundle that is not at hand; raises InputError as `weight_bytes`."""
        weights = {graph: weight_bytes(graph, config, recipe) for graph in Graph}
        floats, lm = recipe.bytes_per_float, config.language
        table = lm.vocab_size * lm.hidden_size * floats
        return cls(config, floats, recipe.bytes_per_cached, weights, table, {})

    @property
    def capacities(self) -> tuple[int, ...]:
        """Those of the plans, the smallest first."""
        return tuple(sorted(self.plans))

    def language_weights(self, capacity: int) -> tuple[int, ...]:
        """Those of each plan that a cache of ``capacity`` needs."""
        plan = self.plans.get(capacity)
        return plan.weights if plan else (self.weights[Graph.LANGUAGE_MODEL],)

    def stated_scratch(self, graph: Graph, capacity: int) -> int | None:
        """The builder's word for ``graph``, of the plans of ``capacity``; None without one."""
        plan = self.plans.get(capacity) if graph is Graph.LANGUAGE_MODEL else None
        return plan.scratch if plan else self.scratch.get(graph)


def _weights(build: GraphBuild) -> int:
    """What they take once they are loaded, where the builder says it; else those of the graph."""
    stated = build.device_weight_bytes
    return build.weight_bytes if stated is None else stated


def _plans(manifest: EngineManifest) -> dict[int, PlanBytes]:
    found = {}
    for capacity in sorted({plan.capacity for plan in manifest.plans}):
        builds = [plan.build for plan in manifest.plans if plan.capacity == capacity]
        stated = [one.workspace_bytes for one in builds if one.workspace_bytes is not None]
        found[capacity] = PlanBytes(tuple(map(_weights, builds)), max(stated, default=None))
    return found


@dataclass(frozen=True, slots=True)
class Budget:
    """The parts of one use, and the rows and positions of its KV cache.

    ``page_cache`` estimates the cached pages of the largest plan's file. They are in memory beside its
    weights while it is opened, and are freed afterwards; 0 if graphs are not copied to a GPU.
    """

    use: str
    rows: int
    capacity: int
    items: tuple[MemoryItem, ...]
    page_cache: int = 0

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(item.nbytes for item in self.items)

    def headroom(self, memory: int) -> int:
        """What a machine with ``memory`` bytes has left, less than 0 where it has too little."""
        return memory - system_bytes(memory) - self.total


def budgets(model: ModelBytes, rows: int = 2, capacity: int | None = None) -> tuple[Budget, ...]:
    """A budget for each of USES.

    ``rows`` is the language model's number of rows when painting, two per picture under guidance;
    answering has one. ``capacity`` is in positions. Without it, painting has room for a prompt of 64
    tokens and a picture, and answering for a prompt with an image and the same again. An engine uses its
    smallest plan that is large enough. With everything open, one cache of the larger size is counted and
    one plan of the language model, since a plan is closed if memory is short. Scratch is shared and is
    never freed, so the most of both uses counts. Raises InputError for less than 1, for more positions
    than the model has, and for more rows or another capacity than the engine's: painting does not split
    rows into batches (`runtime/tensorrt/image_loop.py`).
    """
    lm, tokens = model.config.language, model.config.image_tokens
    if rows < 1 or (capacity is not None and not 1 <= capacity <= lm.max_positions):
        raise InputError(
            f"{rows} rows and a capacity of {capacity}: give at least 1 of each, and at most the "
            f"model's {lm.max_positions} positions"
        )
    if model.capacities and capacity is not None and capacity not in model.capacities:
        built = " and ".join(map(str, model.capacities))
        raise InputError(
            f"the engine was built for capacity {built}, not {capacity}: leave the capacity out, "
            "or build another engine"
        )
    least, most = model.rows or (1, rows)
    if rows > most:
        raise InputError(
            f"the engine was built for {most} rows at most, and {rows} are refused when painting: give "
            f"--rows {most} or less, or build another engine with --profile rows={rows}"
        )

    def held(positions: int) -> int:
        fitting = [one for one in model.capacities if one >= positions]
        return (fitting or model.capacities[-1:] or [positions])[0]

    answering = min(lm.max_positions, PROMPT + 2 * tokens)
    sizes = {
        "painting": (
            max(rows, least),
            capacity or held(planned_capacity(lm, [PROMPT], tokens - 1)),
        ),
        "answering": (least, capacity or held(answering)),
    }
    sizes["everything"] = max(sizes.values(), key=lambda size: size[0] * size[1])
    scratch = {use: _scratch(model, use, *size) for use, size in sizes.items()}
    scratch["everything"] = max(scratch.values())
    return tuple(_budget(model, use, *sizes[use], scratch[use]) for use in USES)


def _scratch(model: ModelBytes, use: str, rows: int, capacity: int) -> int:
    """Graphs run one after the other: the most of any counts."""
    found = []
    for graph in USES[use]:
        stated = model.stated_scratch(graph, capacity)
        if stated is None:
            stated = scratch_bytes(graph, model.config, model.bytes_per_float, rows, capacity)
        found.append(stated)
    return max(found)


def _budget(model: ModelBytes, use: str, rows: int, capacity: int, scratch: int) -> Budget:
    config, graphs = model.config, USES[use]
    cache = cache_bytes(config.language, rows, capacity, model.bytes_per_cached)
    first, *others = model.language_weights(capacity)
    weights = {**model.weights, Graph.LANGUAGE_MODEL: first}
    returned = cache_bytes(config.language, rows, model.new_rows, model.bytes_per_cached)
    again = f"weights of {Graph.LANGUAGE_MODEL.value} again (split)"
    return Budget(
        use, rows, capacity,
        (
            *(MemoryItem(f"weights of {graph.value}", weights[graph]) for graph in graphs),
            *(MemoryItem(again, other) for other in others),
            MemoryItem("KV cache", cache),
            *([MemoryItem("new keys and values of a prefill", returned)] if returned else []),
            MemoryItem("logits and noise", _logits(model, graphs, rows)),
            MemoryItem("scratch", scratch),
            *([MemoryItem("CUDA context (estimate)", CUDA_CONTEXT)] if model.cuda else []),
        ),
        max(*(weights[graph] for graph in graphs), *others) if model.cuda else 0,
    )  # fmt: skip


def _logits(model: ModelBytes, graphs: tuple[Graph, ...], rows: int) -> int:
    codes, words = model.config.vq.codebook_size, model.config.language.vocab_size
    total = rows * codes * model.bytes_per_float + rows // 2 * codes * 4  # noise is float32
    if Graph.IMAGE_HEAD not in graphs:
        total = 0
    return total + (words * model.bytes_per_float if Graph.TEXT_HEAD in graphs else 0)


def system_bytes(memory: int) -> int:
    """What is left to the system on a machine with ``memory`` bytes: 1.5 GiB and a 16th.

    The 16th stands for memory that firmware keeps before the kernel counts (an 8 GB module reports
    about 7.4 GiB), the rest for a system without a desktop, CUDA's libraries (the context is
    counted separately), and for Python and its packages.
    """
    return 3 * GIB // 2 + memory // 16
