"""How much memory a request will take, computed before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph
from janus_edge.runtime.kv_cache import cache_bytes, planned_capacity


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """One part of the plan: what it is and its bytes."""

    what: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The parts that a request keeps in memory; ONNX Runtime's scratch space comes on top."""

    items: tuple[MemoryItem, ...]

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(item.nbytes for item in self.items)

    def __str__(self) -> str:
        rows = [*self.items, MemoryItem("total", self.total)]
        return "\n".join(f"{row.what:<44}{row.nbytes / 2**20:>10,.1f} MiB" for row in rows)


def generation_plan(bundle: Bundle, prompt_lengths: Iterable[int], pictures: int) -> MemoryPlan:
    """Memory of painting ``pictures`` at once from prompts of these lengths (in tokens)."""
    config, itemsize = bundle.manifest.config, bundle.manifest.recipe.bytes_per_float
    capacity = planned_capacity(config.language, prompt_lengths, config.image_tokens - 1)
    rows, vocabulary = 2 * pictures, config.vq.codebook_size
    graphs = (
        Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD, Graph.IMAGE_EMBEDDING, Graph.GUIDED_SAMPLER,
        Graph.VQ_DECODER,
    )  # fmt: skip
    return MemoryPlan(
        (
            *_weights(bundle, graphs),
            MemoryItem(
                f"KV cache, {rows} rows x {capacity} positions",
                cache_bytes(config.language, rows, capacity, itemsize),
            ),
            MemoryItem("logits", rows * vocabulary * itemsize),
            MemoryItem("noise", pictures * vocabulary * 4),
        )
    )


def chat_plan(bundle: Bundle, capacity: int) -> MemoryPlan:
    """Memory of a conversation with a cache of ``capacity`` positions."""
    config, itemsize = bundle.manifest.config, bundle.manifest.recipe.bytes_per_float
    graphs = (Graph.VISION_ENCODER, Graph.LANGUAGE_MODEL, Graph.TEXT_HEAD)
    return MemoryPlan(
        (
            *_weights(bundle, graphs),
            MemoryItem(
                f"KV cache, 1 row x {capacity} positions",
                cache_bytes(config.language, 1, capacity, itemsize),
            ),
            MemoryItem("logits", config.language.vocab_size * itemsize),
        )
    )


def _weights(bundle: Bundle, graphs: Iterable[Graph]) -> tuple[MemoryItem, ...]:
    return tuple(MemoryItem(f"weights of {g.value}", bundle.graph_bytes(g)) for g in graphs)
