"""How much memory a request will take, computed before anything is allocated."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from janus_edge.bundle import Bundle
from janus_edge.engine import Engine
from janus_edge.errors import CapacityError
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

    def check(self) -> MemoryPlan:
        """The plan itself; raises CapacityError when the machine has not that much memory."""
        machine = physical_memory()
        if machine is not None and self.total > machine:
            raise CapacityError(
                f"this needs {self.total / 2**30:.1f} GiB and the machine has "
                f"{machine / 2**30:.1f} GiB; ask for fewer pictures at once, or a smaller capacity"
            )
        return self

    def __str__(self) -> str:
        rows = [*self.items, MemoryItem("total", self.total)]
        return "\n".join(f"{row.what:<44}{row.nbytes / 2**20:>10,.1f} MiB" for row in rows)


def physical_memory() -> int | None:
    """Bytes of memory of this machine, None where the system does not tell."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def generation_plan(
    bundle: Bundle, prompt_lengths: Iterable[int], pictures: int, window: int = 1
) -> MemoryPlan:
    """Memory of painting ``pictures`` at once from prompts of these lengths (in tokens).

    ``window`` is the largest number of codes that a pass draws of each picture.
    """
    prompt_lengths = list(prompt_lengths)
    config, itemsize = bundle.manifest.config, bundle.manifest.recipe.bytes_per_float
    cached = bundle.manifest.recipe.bytes_per_cached
    new = config.image_tokens - 1
    planned_capacity(config.language, prompt_lengths, new)  # a window gives way, a picture does not
    new += min(window - 1, config.language.max_positions - max(prompt_lengths) - new)
    capacity = _held(bundle, planned_capacity(config.language, prompt_lengths, new))
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
                cache_bytes(config.language, rows, capacity, cached),
            ),
            *_prompt_cache(bundle, prompt_lengths, pictures),
            MemoryItem("logits", rows * window * vocabulary * itemsize),
            MemoryItem("noise", pictures * window * vocabulary * 4),
        )
    )


def _prompt_cache(
    bundle: Bundle, prompt_lengths: Sequence[int], pictures: int
) -> tuple[MemoryItem, ...]:
    """The prompts' own rows, which are there until they are copied to several pictures."""
    if pictures == len(prompt_lengths):
        return ()
    config, cached = bundle.manifest.config, bundle.manifest.recipe.bytes_per_cached
    capacity = _held(bundle, planned_capacity(config.language, prompt_lengths, 0))
    rows = 2 * len(prompt_lengths)
    what = f"prompts' cache, {rows} rows x {capacity} positions"
    return (MemoryItem(what, cache_bytes(config.language, rows, capacity, cached)),)


def chat_plan(bundle: Bundle, capacity: int) -> MemoryPlan:
    """Memory of a conversation with a cache of ``capacity`` positions."""
    config, itemsize = bundle.manifest.config, bundle.manifest.recipe.bytes_per_float
    graphs = (Graph.VISION_ENCODER, Graph.LANGUAGE_MODEL, Graph.TEXT_HEAD)
    capacity = _held(bundle, capacity)
    return MemoryPlan(
        (
            *_weights(bundle, graphs),
            MemoryItem(
                f"KV cache, 1 row x {capacity} positions",
                cache_bytes(config.language, 1, capacity, bundle.manifest.recipe.bytes_per_cached),
            ),
            MemoryItem("logits", config.language.vocab_size * itemsize),
        )
    )


def _held(bundle: Bundle, positions: int) -> int:
    """Cache positions for a request, rounded up to the capacity of an engine's plan."""
    found = bundle.manifest.capacity_for(positions) if isinstance(bundle, Engine) else None
    return found or positions  # too large for all plans: binding refuses it


def _weights(bundle: Bundle, graphs: Iterable[Graph]) -> tuple[MemoryItem, ...]:
    return tuple(MemoryItem(f"weights of {g.value}", bundle.graph_bytes(g)) for g in graphs)
