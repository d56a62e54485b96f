"""Outputs of a graph that updates its cache, converted to those of a plan that returns new rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


def as_returned(outputs: Arrays, feed: Arrays, names: Iterable[str]) -> Arrays:
    """Convert ``outputs`` of the canonical graph for ``feed`` to a plan's output ``names``.

    ``new_key.i`` and ``new_value.i`` [B, kv_heads, S, D] are the positions that the call wrote in
    the present ones [B, kv_heads, C, D] (`graphs.engine_signature`). Without such names the outputs are
    unchanged.
    """
    wanted = [*names]
    if not any(name.startswith("new_") for name in wanted):
        return outputs
    starts, new = feed["past_lengths"].tolist(), feed["inputs_embeds"].shape[1]
    found = {}
    for name in wanted:
        present = outputs.get(name.replace("new_", "present_", 1))
        if name.startswith("new_") and present is not None:
            rows = [row[:, start : start + new] for row, start in zip(present, starts, strict=True)]
            found[name] = np.stack(rows)
        elif name in outputs:
            found[name] = outputs[name]
    return found
