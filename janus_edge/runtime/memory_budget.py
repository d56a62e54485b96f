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
from dataclasses import dataclass
from typing import TYPE_CHECKING

from janus_edge.bundle import Bundle
from janus_edge.config import JanusConfig
from janus_edge.engine import Engine
from janus_edge.errors import InputError
from janus_edge.graphs import NEW_ROWS_ONLY, Graph
from janus_edge.recipe import Recipe
from janus_edge.runtime.kv_cache import cache_bytes, planned_capacity
from janus_edge.runtime.language_model import PREFILL_CHUNK
from janus_edge.runtime.memory import MemoryItem
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
class ModelBytes:
    """What budgets are computed from: dimensions, and bytes of weights per graph.

    ``scratch`` has the graphs whose scratch memory the builder stated. ``capacities`` are those of an
    engine's plans, empty if any will do. ``cuda`` is whether CUDA runs it. ``split`` is whether prefill
    and decode of the language model are separate plans, each with all weights. ``new_rows`` is the number
    of prefill tokens whose keys and values an engine returns outside the cache
    (`graphs.engine_signature`), else 0.
    """

    config: JanusConfig
    bytes_per_float: int
    bytes_per_cached: int
    weights: Mapping[Graph, int]
    text_embeddings: int
    scratch: Mapping[Graph, int]
    capacities: tuple[int, ...] = ()
    cuda: bool = True
    split: bool = False
    new_rows: int = 0

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """A bundle's, by the sizes of its files, or an engine's, by what its manifest states."""
        manifest = bundle.manifest
        weights = {graph: bundle.graph_bytes(graph) for graph in Graph}
        capacities: tuple[int, ...] = ()
        scratch, cuda, split, new_rows = {}, True, False, 0
        if isinstance(bundle, Engine):
            builds = {graph: bundle.manifest.builds[graph.value] for graph in Graph}
            weights = {graph: build.weight_bytes for graph, build in builds.items()}
            stated = {graph: build.workspace_bytes for graph, build in builds.items()}
            scratch = {graph: size for graph, size in stated.items() if size is not None}
            capacities = bundle.manifest.capacities
            cuda = bundle.manifest.target != "ort-cpu"
            split = bundle.manifest.split
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
            capacities,
            cuda,
            split,
            new_rows,
        )

    @classmethod
    def of_dimensions(cls, config: JanusConfig, recipe: Recipe) -> Self:
        """Those of a bundle that is not at hand; raises InputError as `weight_bytes`."""
        weights = {graph: weight_bytes(graph, config, recipe) for graph in Graph}
        floats, lm = recipe.bytes_per_float, config.language
        table = lm.vocab_size * lm.hidden_size * floats
        return cls(config, floats, recipe.bytes_per_cached, weights, table, {})


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
    one plan of the language model, since a plan is closed if memory is short. Raises InputError for less
    than 1, for more positions than the model has, and for a capacity that the engine does not have.
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

    def held(positions: int) -> int:
        fitting = [one for one in model.capacities if one >= positions]
        return (fitting or model.capacities[-1:] or [positions])[0]

    answering = min(lm.max_positions, PROMPT + 2 * tokens)
    sizes = {
        "painting": (rows, capacity or held(planned_capacity(lm, [PROMPT], tokens - 1))),
        "answering": (1, capacity or held(answering)),
    }
    sizes["everything"] = max(sizes.values(), key=lambda size: size[0] * size[1])
    return tuple(_budget(model, use, *sizes[use]) for use in USES)


def _budget(model: ModelBytes, use: str, rows: int, capacity: int) -> Budget:
    config, graphs = model.config, USES[use]
    cache = cache_bytes(config.language, rows, capacity, model.bytes_per_cached)
    scratch = max(
        model.scratch.get(
            graph, scratch_bytes(graph, config, model.bytes_per_float, rows, capacity)
        )
        for graph in graphs
    )
    returned = cache_bytes(config.language, rows, model.new_rows, model.bytes_per_cached)
    again = f"weights of {Graph.LANGUAGE_MODEL.value} again (split)"
    return Budget(
        use, rows, capacity,
        (
            *(MemoryItem(f"weights of {graph.value}", model.weights[graph]) for graph in graphs),
            *([MemoryItem(again, model.weights[Graph.LANGUAGE_MODEL])] if model.split else []),
            MemoryItem("KV cache", cache),
            *([MemoryItem("new keys and values of a prefill", returned)] if returned else []),
            MemoryItem("logits and noise", _logits(model, graphs, rows)),
            MemoryItem("scratch", scratch),
            *([MemoryItem("CUDA context (estimate)", CUDA_CONTEXT)] if model.cuda else []),
        ),
        max(model.weights[graph] for graph in graphs) if model.cuda else 0,
    )  # fmt: skip


def _logits(model: ModelBytes, graphs: tuple[Graph, ...], rows: int) -> int:
    codes, words = model.config.vq.codebook_size, model.config.language.vocab_size
    total = rows * codes * model.bytes_per_float + rows // 2 * codes * 4  # noise is float32
    if Graph.IMAGE_HEAD not in graphs:
        total = 0
    return total + (words * model.bytes_per_float if Graph.TEXT_HEAD in graphs else 0)


def scratch_bytes(
    graph: Graph, config: JanusConfig, itemsize: int, rows: int, capacity: int
) -> int:
    """An estimate of the intermediate results of ``graph`` that are alive at once.

    One picture at a time for the picture graphs, a chunk of the prompt for the language model. The
    largest of: an MLP's input, inner values before and after the activation (and gate); attention's
    residual, queries, keys, values, results, and the scores of all heads in float32; of a VQ model
    three maps of the widest level (input, output and shortcut of a block). Kernels that keep no
    scores take less, others more: TensorRT-RTX 1.7 stated about 8 MB besides for each graph, and for
    the VQ decoder in float32 five times this beyond them (in float16 the same as this).
    """
    vision, vq, lm = config.vision, config.vq, config.language
    tokens = config.image_tokens
    if graph is Graph.VISION_ENCODER:
        mlp = tokens * (vision.hidden_size + 2 * vision.intermediate_size) * itemsize
        scores = vision.heads * tokens**2 * 4
        return max(mlp, tokens * 5 * vision.hidden_size * itemsize + scores)
    if graph in (Graph.VQ_ENCODER, Graph.VQ_DECODER):
        widths = [vq.base_channels * m for m in vq.channel_multiplier]
        sides = [config.image_size >> level for level in range(len(widths))]
        return 3 * max(w * side**2 for w, side in zip(widths, sides, strict=True)) * itemsize
    if graph is Graph.LANGUAGE_MODEL:
        new = rows * min(PREFILL_CHUNK, capacity)
        mlp = new * (2 * lm.hidden_size + 3 * lm.intermediate_size) * itemsize
        scores = new * lm.heads * capacity * 4
        return max(mlp, new * 5 * lm.hidden_size * itemsize + scores)
    if graph is Graph.GUIDED_SAMPLER:
        return 3 * rows * vq.codebook_size * 4
    return 0  # heads and the table of embeddings: their results are counted as logits


def system_bytes(memory: int) -> int:
    """What is left to the system on a machine with ``memory`` bytes: 1.5 GiB and a 16th.

    The 16th stands for memory that firmware keeps before the kernel counts (an 8 GB module reports
    about 7.4 GiB), the rest for a system without a desktop, CUDA's libraries (the context is
    counted separately), and for Python and its packages.
    """
    return 3 * GIB // 2 + memory // 16
