"""Time the VQ decoder of an engine, from codes to a picture, and print JSON.

python -m benchmarks.gpu_check.decode_time ENGINE
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from janus_edge.bench.distribution import Distribution
from janus_edge.engine import Engine
from janus_edge.errors import JanusEdgeError
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import open_backend

_ROUNDS = 6


def measure(engine: Engine, clock: Callable[[], float] = time.perf_counter) -> dict[str, Any]:
    """Return the seconds of each decode after the first."""
    config = engine.manifest.config
    codes = np.random.default_rng(0).integers(0, config.vq.codebook_size, config.image_tokens)
    seconds = []
    with Janus(engine, open_backend(engine)) as janus:
        for _ in range(_ROUNDS):
            begin = clock()
            janus.decode(codes)
            seconds.append(clock() - begin)
    return {"decode_s": Distribution.of(seconds[1:]).median, "first_s": seconds[0]}


def main(arguments: Sequence[str]) -> int:
    """Measure one engine and return the exit code."""
    (path,) = map(Path, arguments)
    try:
        print(json.dumps(measure(Engine.open(path))))
    except JanusEdgeError as wrong:
        print(f"janus-edge: error: {wrong}", file=sys.stderr)
        return wrong.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
