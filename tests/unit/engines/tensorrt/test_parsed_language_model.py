"""The parsed language model decodes as ONNX Runtime does: prefill, steps and windows on its own cache.

The reference computes the bundle's own graph, so that what a target's passes change is held, too.
Nothing runs on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph, cache_names
from tests.tensorrt_network.bundles import recipe_bundle
from tests.tensorrt_network.data_types import Array, rounded
from tests.tensorrt_network.interpreter import Interpreter
from tests.tensorrt_network.parsing import parsed_network
from tests.tensorrt_network.reference import Reference

CAPACITY = 64

#: New tokens of each row, call by call: a prefill of unequal rows, two steps, a window of four codes,
#: another step, and a window of which each row keeps what it likes.
CALLS = ((6, 3), (1, 1), (1, 1), (4, 4), (1, 1), (4, 2), (1, 1))

#: Of the largest number of a call's hidden states or of all caches. Rounding errors of two orders of
#: summation are carried from layer to layer and call to call: seen are 2e-6 in float32. In 16 bits the
#: queries are rounded once more by the scale that is a product of its own, and sums of two roundings
#: differ by units in the last place: 2^-11 each, some tens of them in two layers.
LIMITS = {"fp32": 1e-5, "fp16": 1e-2, "int4-weight": 1e-2}


@dataclass
class Call:
    """What one call gave: hidden states of the rows' new tokens, and the caches up to there."""

    hidden: list[Array]
    caches: list[Array]


@pytest.mark.parametrize("recipe", LIMITS)
@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx", "tensorrt-10.3"])
def test_decoding(
    tiny_bundle: Path, half_bundle: Path, tmp_path: Path, target: str, recipe: str
) -> None:
    """Hidden states and caches of every call are within the limits, pads and stale positions aside."""
    bundle = recipe_bundle(recipe, tiny_bundle, half_bundle, tmp_path / "bundle")
    network = parsed_network(target, bundle, Graph.LANGUAGE_MODEL, tmp_path / "lowered")
    float_type = next(tensor.dtype for tensor in network.inputs if tensor.name == "inputs_embeds")
    ours = decoded(bundle, Interpreter(network).run, float_type)
    theirs = decoded(bundle, Reference(bundle.graph(Graph.LANGUAGE_MODEL)).run, float_type)
    seen = []
    for number, (tokens, a, b) in enumerate(zip(CALLS, ours, theirs, strict=True)):
        far = max(distance(*pair) for pair in zip(a.hidden, b.hidden, strict=True))
        alike = min(cosine(*pair) for pair in zip(a.hidden, b.hidden, strict=True))
        stored = max(distance(*pair) for pair in zip(a.caches, b.caches, strict=True))
        if max(far, stored) > LIMITS[recipe]:
            seen.append(
                f"call {number} of {tokens} tokens: cosine {alike:.4f}, hidden states {far:.1e} off, "
                f"caches {stored:.1e}"
            )
    assert not seen, "\n".join(seen)


def decoded(bundle: Bundle, run: object, float_type: str) -> Iterator[Call]:
    """Run the calls, each on the cache that the one before it gave."""
    language, rng = bundle.manifest.config.language, np.random.default_rng(7)
    shape = (2, language.kv_heads, CAPACITY, language.head_dim)
    caches = {name: np.zeros(shape, np.float32) for name in cache_names("past", language.layers)}
    lengths = np.zeros(2, np.int64)
    for tokens in CALLS:
        most = max(tokens)
        hidden = rng.normal(size=(2, most, language.hidden_size)).astype(np.float32)
        feeds = {"inputs_embeds": rounded(hidden, float_type), "past_lengths": lengths, **caches}
        made = run(feeds)  # type: ignore[operator]
        np.testing.assert_array_equal(made["lengths"], lengths + most)
        lengths = lengths + tokens
        caches = {name: made[name.replace("past", "present")] for name in caches}
        yield Call(
            [made["hidden_states"][row, :count].copy() for row, count in enumerate(tokens)],
            [
                cache[row, :, :length].copy()
                for cache in caches.values()
                for row, length in enumerate(lengths)
            ],
        )


def distance(a: Array, b: Array) -> float:
    """The largest difference as a part of the largest number; not a number is infinitely far."""
    far = float(np.abs(a - b).max() / np.abs(b).max())
    return far if np.isfinite(far) else float("inf")


def cosine(a: Array, b: Array) -> float:
    """The smallest of the tokens'."""
    both = (a * b).sum(-1)
    return float((both / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())
