"""The graphs of a bundle and their inputs and outputs: the single table that everyone reads.

Symbols: B rows, S new tokens, C cache capacity, N images, P pictures; ``2P`` is twice P, ordered
[conditional..., unconditional...]. A dtype ``float`` is the float type of the bundle's precision; the
KV cache is of that type, or int8 where the recipe says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from janus_edge.config import JanusConfig

#: ONNX operator set of every canonical graph (TensorScatter and nonpad_kv_seqlen need 24).
OPSET = 24

#: Targets whose `language_model` returns only new keys and values (:func:`engine_signature`).
NEW_ROWS_ONLY = frozenset({"tensorrt-10.3"})

Dim = int | str


class Graph(str, Enum):
    """The names of the graphs, which are also their file names."""

    VISION_ENCODER = "vision_encoder"
    VQ_ENCODER = "vq_encoder"
    VQ_DECODER = "vq_decoder"
    LANGUAGE_MODEL = "language_model"
    TEXT_HEAD = "text_head"
    IMAGE_HEAD = "image_head"
    IMAGE_EMBEDDING = "image_embedding"
    GUIDED_SAMPLER = "guided_sampler"


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output: its name, dtype (``float``, ``float32``, ``int8`` or ``int64``) and shape."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.name} [{','.join(map(str, self.shape))}] {self.dtype}"


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of a graph, in order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def cache_names(stem: str, layers: int) -> Iterator[str]:
    """``past_key.0``, ``past_value.0``, ``past_key.1``, ... for the stem ``past``."""
    for layer in range(layers):
        yield f"{stem}_key.{layer}"
        yield f"{stem}_value.{layer}"


def signature(graph: Graph, config: JanusConfig, cache_type: str = "float") -> Signature:
    """The inputs and outputs of ``graph`` for a model of these dimensions.

    ``cache_type`` is ``float`` or ``int8``, as a recipe's ``cache``.
    """
    lm, size, codes = config.language, config.image_size, config.image_tokens
    pixels = Port("pixel_values", "float", ("N", 3, size, size))
    image_codes = Port("image_codes", "int64", ("N", codes))
    hidden = Port("hidden_states", "float", ("N", lm.hidden_size))
    cache = ("B", lm.kv_heads, "C", lm.head_dim)

    def caches(stem: str) -> tuple[Port, ...]:
        return tuple(Port(name, cache_type, cache) for name in cache_names(stem, lm.layers))

    table = {
        Graph.VISION_ENCODER: Signature(
            (pixels,), (Port("image_embeds", "float", ("N", codes, lm.hidden_size)),)
        ),
        Graph.VQ_ENCODER: Signature((pixels,), (image_codes,)),
        Graph.VQ_DECODER: Signature((image_codes,), (pixels,)),
        Graph.LANGUAGE_MODEL: Signature(
            (
                Port("inputs_embeds", "float", ("B", "S", lm.hidden_size)),
                Port("past_lengths", "int64", ("B",)),
                *caches("past"),
            ),
            (
                Port("hidden_states", "float", ("B", "S", lm.hidden_size)),
                Port("lengths", "int64", ("B",)),
                *caches("present"),
            ),
        ),
        Graph.TEXT_HEAD: Signature((hidden,), (Port("logits", "float", ("N", lm.vocab_size)),)),
        Graph.IMAGE_HEAD: Signature(
            (hidden,), (Port("logits", "float", ("N", config.vq.codebook_size)),)
        ),
        Graph.IMAGE_EMBEDDING: Signature(
            (Port("image_codes", "int64", ("P",)),),
            (Port("inputs_embeds", "float", ("2P", 1, lm.hidden_size)),),
        ),
        Graph.GUIDED_SAMPLER: Signature(
            (
                Port("logits", "float", ("2P", config.vq.codebook_size)),
                Port("guidance_scale", "float32", ()),
                Port("temperature", "float32", ()),
                Port("noise", "float32", ("P", config.vq.codebook_size)),
            ),
            (Port("image_codes", "int64", ("P",)),),
        ),
    }
    return table[graph]


def engine_signature(
    graph: Graph, config: JanusConfig, target: str, cache_type: str = "float"
) -> Signature:
    """Return the inputs and outputs of ``graph`` in an engine of ``target``.

    They equal the table's, with one exception: `language_model` of a target in ``NEW_ROWS_ONLY`` does not
    change the cache. Instead of ``present_key.i`` and ``present_value.i`` it returns ``new_key.i`` and
    ``new_value.i`` [B, kv_heads, S, D]. The runtime writes their row s to position
    ``past_lengths[b] + s`` of the cache before the next call. Unwritten positions must hold finite
    numbers: they are masked, but 0 x NaN is NaN.
    """
    table = signature(graph, config, cache_type)
    if graph is not Graph.LANGUAGE_MODEL or target not in NEW_ROWS_ONLY:
        return table
    lm = config.language
    kept, shape = table.outputs[:2], ("B", lm.kv_heads, "S", lm.head_dim)
    rows = (Port(name, cache_type, shape) for name in cache_names("new", lm.layers))
    return replace(table, outputs=(*kept, *rows))
