"""Attention, rotary position embeddings and the KV cache."""

from __future__ import annotations

import numpy as np

from tests.tensorrt_network.data_types import Array
from tests.tensorrt_network.network import Layer, UnknownError
from tests.tensorrt_network.reductions import softmax_along


def attention_input(
    layer: Layer, query: Array, key: Array, value: Array, mask: Array | None
) -> Array:
    """``softmax(query key^T + mask) value`` of [B, heads, tokens, D], in float32 throughout.

    There is no scale: a caller that needs one multiplies the query. Query heads share the key heads in
    order. A bool mask is True where a key is attended; any other mask is added. An unattended position
    has the weight 0, but 0 x NaN is NaN, so a cache must start with finite numbers.
    """
    kind = layer.attributes["causal_kind"]
    if kind != "NONE" and mask is not None:
        raise UnknownError(f"{layer.name}: a mask and causal_kind = {kind}")
    if query.shape[1] % key.shape[1] or key.shape[:3] != value.shape[:3]:
        raise UnknownError(f"{layer.name}: {query.shape}, {key.shape}, {value.shape}")
    shared = query.shape[1] // key.shape[1]
    key, value = (np.repeat(one, shared, axis=1) if shared > 1 else one for one in (key, value))
    scores = np.matmul(query, key.swapaxes(-1, -2))
    allowed = _causal(layer, kind, *scores.shape[-2:])
    if mask is not None:
        if mask.ndim != 4:
            raise UnknownError(f"{layer.name}: a mask of rank {mask.ndim}")
        if mask.dtype == np.bool_:
            allowed = mask
        else:
            scores = scores + mask
    if allowed is not None:
        scores = np.where(allowed, scores, np.float32(-np.inf))
    return np.matmul(softmax_along(scores, -1), value)


def _causal(layer: Layer, kind: str, tokens: int, keys: int) -> Array | None:
    """Return which keys each token attends (`CausalMaskKind`); None for all."""
    if kind == "NONE":
        return None
    if kind not in ("UPPER_LEFT", "LOWER_RIGHT"):
        raise UnknownError(f"{layer.name}: no semantics for causal_kind = {kind}")
    first = 0 if kind == "UPPER_LEFT" else keys - tokens
    return np.arange(keys)[None, :] <= np.arange(tokens)[:, None] + first


def attention_output(layer: Layer, x: Array) -> Array:
    """Return what the attention's input layer computed."""
    return x


def rotary_embedding(
    layer: Layer, x: Array, cosines: Array, sines: Array, positions: Array | None = None
) -> Array:
    """Rotate pairs of [B, heads, S, D]: the halves of the rotated dimensions, or neighbours."""
    static = layer.attributes
    if positions is None or x.ndim != 4:
        raise UnknownError(f"{layer.name}: rotates rank {x.ndim} without positions")
    if positions.size and not 0 <= positions.min() <= positions.max() < cosines.shape[0]:
        raise IndexError(f"{layer.name}: positions beyond {cosines.shape[0]}")
    size = static["rotary_embedding_dim"] or x.shape[-1]
    cosine, sine = (table[positions][:, None] for table in (cosines, sines))
    turned, rest = x[..., :size], x[..., size:]
    if static["interleaved"]:
        a, b = turned[..., 0::2], turned[..., 1::2]
    else:
        a, b = turned[..., : size // 2], turned[..., size // 2 :]
    pair = (cosine * a - sine * b, sine * a + cosine * b)
    if static["interleaved"]:
        made = np.stack(pair, axis=-1).reshape(turned.shape)
    else:
        made = np.concatenate(pair, axis=-1)
    return np.concatenate([made, rest], axis=-1) if rest.size else made


def kv_cache_update(layer: Layer, cache: Array, update: Array, write: Array) -> Array:
    """Write ``update`` [B, heads, S, D] into ``cache`` itself, starting at position ``write[b]``."""
    tokens = update.shape[2]
    if write.size and not 0 <= write.min() <= write.max() + tokens <= cache.shape[2]:
        raise IndexError(f"{layer.name}: writes {tokens} from {write} into {cache.shape}")
    for row, start in enumerate(write):
        cache[row, :, start : start + tokens] = update[row]
    return cache
