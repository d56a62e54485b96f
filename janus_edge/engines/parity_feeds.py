"""Inputs to compare an engine's graphs on: drawn with a seed, or recorded before."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.config import JanusConfig
from janus_edge.errors import InputError
from janus_edge.graphs import Graph, Port, signature
from janus_edge.noise import gumbel_rows

#: The inputs of one call, by their names.
Feed = dict[str, NDArray[Any]]


def seeded_feeds(
    graph: Graph,
    config: JanusConfig,
    float_type: str,
    *,
    seed: int = 0,
    pictures: int = 1,
    new_tokens: tuple[int, ...] = (16, 1),
    capacity: int = 64,
    inputs: Sequence[Port] = (),
) -> tuple[Feed, ...]:
    """One call of ``graph``, or for the language model one for each of ``new_tokens``.

    ``inputs`` are what the graph takes where a recipe changed it (an int8 cache).

    Values of a real run's size: pixels in [-1, 1], codes below the codebook's size, caches, hidden
    states and logits normal; rows of the language model hold pasts of different lengths. ``N`` is
    ``pictures`` or, of the heads, two rows for each. Floats are ``float_type``, float16 or float32.
    Raises InputError for sizes that do not fit, and for bfloat16, which numpy has not.
    """
    if float_type not in ("float32", "float16"):
        raise InputError(
            f"numpy has no {float_type}: compare an engine of float16 or float32, or run its graphs "
            "in float32"
        )
    lengths = new_tokens if graph is Graph.LANGUAGE_MODEL else (1,)
    if min(pictures, capacity, *lengths) < 1 or max(lengths) > capacity:
        raise InputError(
            f"{pictures} pictures, {lengths} new tokens, capacity {capacity}: give at least 1 of each, "
            "and no more tokens than the capacity"
        )
    rng = np.random.default_rng([seed, list(Graph).index(graph)])
    rows = 2 * pictures
    heads = graph in (Graph.TEXT_HEAD, Graph.IMAGE_HEAD)
    sizes = {"N": rows if heads else pictures, "P": pictures, "2P": rows, "B": rows, "C": capacity}
    return tuple(
        {
            port.name: _draw(port, config, float_type, {**sizes, "S": length}, rng, seed)
            for port in inputs or signature(graph, config).inputs
        }
        for length in lengths
    )


def _draw(
    port: Port,
    config: JanusConfig,
    float_type: str,
    sizes: dict[str, int],
    rng: np.random.Generator,
    seed: int,
) -> NDArray[Any]:
    shape = tuple(dim if isinstance(dim, int) else sizes[dim] for dim in port.shape)
    dtype = float_type if port.dtype == "float" else port.dtype
    if port.name == "noise":
        return gumbel_rows([seed] * shape[0], range(shape[0]), 0, shape[1])
    if port.name == "guidance_scale":
        return np.array(5, dtype)
    if port.name == "temperature":
        return np.array(1, dtype)
    if port.name == "image_codes":
        return rng.integers(0, config.vq.codebook_size, shape, dtype)
    if port.name == "past_lengths":
        return rng.integers(0, sizes["C"] - sizes["S"] + 1, shape, dtype)
    if port.name == "pixel_values":
        return rng.uniform(-1, 1, shape).astype(dtype)
    if dtype == "int8":
        return rng.integers(-127, 128, shape, dtype)
    return rng.standard_normal(shape, np.float32).astype(dtype)


def read_feeds(path: Path) -> tuple[Feed, ...]:
    """Calls recorded in an .npz file, in which `3.inputs_embeds` is the input of call 3.

    benchmarks/peers/record_feeds.py writes such files. Raises InputError for a file that is none.
    """
    calls: dict[int, Feed] = {}
    try:
        for call, name, value in _entries(path):
            calls.setdefault(call, {})[name] = value
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as unreadable:
        raise InputError(
            f"{path}: no recorded inputs ({unreadable}); record them with "
            "benchmarks/peers/record_feeds.py"
        ) from unreadable
    if not calls:
        raise InputError(f"{path}: holds no call; record some again")
    return tuple(calls[call] for call in sorted(calls))


def _entries(path: Path) -> Iterator[tuple[int, str, NDArray[Any]]]:
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            call, _, name = key.partition(".")
            yield int(call), name, arrays[key]
