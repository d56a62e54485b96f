"""Recorded inputs of one graph, as the libraries' calibration reads them.

An .npz file: the array `3.inputs_embeds` is the input `inputs_embeds` of call 3. All calls have the
same shapes, because most of the libraries' methods join the calls' activations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.atomic_file import written_aside

#: Call after call, the inputs by their names.
Feeds = list[dict[str, NDArray[Any]]]


def write_feeds(path: Path, feeds: Feeds) -> None:
    arrays = {f"{i}.{name}": value for i, feed in enumerate(feeds) for name, value in feed.items()}
    with written_aside(path) as aside, open(aside, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its last option is a bool


def read_feeds(path: Path) -> Feeds:
    calls: dict[int, dict[str, NDArray[Any]]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            call, _, name = key.partition(".")
            calls.setdefault(int(call), {})[name] = arrays[key]
    feeds = [calls[i] for i in sorted(calls)]
    shapes = {tuple(sorted((k, v.shape) for k, v in feed.items())) for feed in feeds}
    if len(shapes) != 1:
        raise SystemExit(f"{path}: {len(feeds)} calls of {len(shapes)} shapes; record them again")
    return feeds
