"""What a decoding step must read, and how long memory alone would take for it.

At the few rows of a step every weight is read for a handful of products, so reading is what takes the
time. The limit of a call is the bytes of its weights, as stored, and of the filled part of the KV
cache, over the bandwidth that was measured (the roofline model: Williams, Waterman and Patterson,
2009). Activations stay in the caches and are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from janus_edge.bench.bandwidth import Bandwidth
from janus_edge.bench.distribution import Distribution
from janus_edge.bench.recorder import TEXT_EMBEDDING, Binding
from janus_edge.bench.timeline import LANGUAGE_MODEL, TOTAL
from janus_edge.bench.weight_bytes import WeightBytes, weight_bytes
from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph

#: The graphs of a step.
STEP_GRAPHS = {
    "image": (
        Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD, Graph.GUIDED_SAMPLER, Graph.IMAGE_EMBEDDING,
    ),
    "text": (Graph.LANGUAGE_MODEL, Graph.TEXT_HEAD),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that a call must read: weights by the type in which they are stored, cache, table rows."""

    weights: dict[str, int]
    cache: int
    rows: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.weights.values()) + self.cache + self.rows


@dataclass(frozen=True, slots=True)
class Limit:
    """What a call must read, the seconds of that alone, and the share of the median that they are."""

    traffic: Traffic
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Roofline:
    """Limits by part of a step, with the cache filled up to ``position``; ``note`` says what to
    keep in mind about them."""

    position: int
    limits: dict[str, Limit]
    note: str

    def notable(self) -> dict[str, Limit]:
        """The limits of parts that read at least a thousandth of what the step reads."""
        most = max((limit.traffic.total for limit in self.limits.values()), default=0)
        return {n: found for n, found in self.limits.items() if found.traffic.total * 1000 >= most}


def step_weights(bundle: Bundle, mode: str) -> dict[str, WeightBytes]:
    """Bytes of the graphs of a step, and of a row of text embeddings; raises BundleError."""
    found = {graph.value: weight_bytes(bundle, graph) for graph in STEP_GRAPHS[mode]}
    if mode == "text":
        table = bundle.manifest.text_embeddings
        found[TEXT_EMBEDDING] = WeightBytes(
            {}, table.shape[1] * (4 if table.dtype == "float32" else 2)
        )
    return found


def roofline(
    weights: Mapping[str, WeightBytes],
    binding: Binding,
    pictures: int,
    position: int,
    step: Mapping[str, Distribution],
    bandwidth: Bandwidth,
    cache_bytes: int,
) -> Roofline:
    """Limits of the parts of ``step`` that read weights, and of all of it.

    ``pictures`` rows of a table of codes are taken, one for each row of ``binding`` of those inside
    the language model, for each new code or token of ``binding``. ``cache_bytes`` is the processor's
    last cache.
    """
    traffic = {}
    for name, found in weights.items():
        inside = name == LANGUAGE_MODEL
        # the new tokens' keys and values are read with those before them
        cache = binding.position_bytes * (position + binding.new) if inside else 0
        rows = (binding.rows if inside else pictures) * binding.new * found.row
        traffic[name] = Traffic(found.whole, cache, rows)
    traffic[TOTAL] = _sum(traffic.values())
    limits = {
        name: _limit(read, step[name], bandwidth) for name, read in traffic.items() if name in step
    }
    return Roofline(position, limits, _note(traffic[TOTAL].total, cache_bytes))


def _limit(traffic: Traffic, measured: Distribution, bandwidth: Bandwidth) -> Limit:
    seconds = traffic.total / bandwidth.bytes_per_second
    return Limit(traffic, seconds, seconds / measured.median if measured.median else 0.0)


def _sum(parts: Iterable[Traffic]) -> Traffic:
    weights: dict[str, int] = {}
    cache = rows = 0
    for part in parts:
        cache, rows = cache + part.cache, rows + part.rows
        for kind, count in part.weights.items():
            weights[kind] = weights.get(kind, 0) + count
    return Traffic(weights, cache, rows)


def _note(step_bytes: int, cache_bytes: int) -> str:
    if step_bytes >= cache_bytes:
        return ""
    return (
        f"a step reads {step_bytes / 2**20:.1f} MiB, which the processor's last cache "
        f"({cache_bytes / 2**20:.0f} MiB) holds: memory does not bind it, and more than 100 % of the "
        "limit is possible"
    )
