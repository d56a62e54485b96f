"""Time one step of the language model alone, with a cache of a given capacity, and print JSON.

    python -m benchmarks.gpu_check.language_step ENGINE [--capacity N] [--position P] [--prefill S]

Two rows each take one new token after P positions. A TensorRT engine has the capacity that it was
built for. `tensorrt` and `tensorrt-rtx` run captured, on GPU memory. Other targets run as a session,
with the copies of embeddings and hidden states. With --prefill, a prefill of S tokens in one row into
an empty cache is also timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from janus_edge.bench.distribution import Distribution
from janus_edge.engine import Engine
from janus_edge.errors import JanusEdgeError
from janus_edge.graphs import Graph
from janus_edge.runtime.kv_cache import KVCache
from janus_edge.runtime.language_model import LanguageModel
from janus_edge.runtime.session import open_backend

#: Number of rounds, of which the fastest counts, and of launches in each.
_ROUNDS, _LAUNCHES = 5, 20

#: Targets whose step is one launch on device tensors, with the cache updated in place.
_CAPTURED = ("tensorrt", "tensorrt-rtx")

Run = Callable[[int], None]


def measure(
    engine: Engine, capacity: int | None, position: int, prefill: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:  # fmt: skip
    """Return the seconds of a step, and of a prefill if one is asked for."""
    config = engine.manifest.config.language
    if engine.manifest.profiles:
        capacity = engine.manifest.profiles[0].capacity.largest
    capacity = capacity or config.max_positions
    backend = open_backend(engine)
    try:
        cache = KVCache.of(backend, config, 2, capacity)
        cache.lengths[:] = position
        captured = engine.manifest.target in _CAPTURED
        run = _launches(backend, cache) if captured else _calls(backend, cache)
        run(2)
        seconds = [_timed(run, clock) for _ in range(_ROUNDS)]
        found = {"capacity": capacity, "position": position, "step_s": min(seconds),
                 "method": "captured" if captured else "session, with copies"}  # fmt: skip
        if prefill:
            found |= _prefilled(backend, config, capacity, prefill, clock)
        return found
    finally:
        backend.close()


def _timed(run: Run, clock: Callable[[], float]) -> float:
    begin = clock()
    run(_LAUNCHES)
    return (clock() - begin) / _LAUNCHES


def _calls(backend: Any, cache: KVCache) -> Run:
    """Time runs of a session, waiting for each one."""
    step = LanguageModel(backend.session(Graph.LANGUAGE_MODEL)).plan(cache, 1)

    def run(count: int) -> None:
        for _ in range(count):
            step.run()

    return run


def _launches(backend: Any, cache: KVCache) -> Run:
    """Time launches of a captured run, waiting for all of them together."""
    from janus_edge.runtime.tensorrt.execution import Place

    plan, device = backend.plan(Graph.LANGUAGE_MODEL), backend.environment().device
    places = backend.language_model().resident(cache)
    ports = (*plan.signature.inputs, *plan.signature.outputs)
    sizes = {"B": cache.rows, "S": 1}
    for port in ports:
        if port.name not in places:
            shape = tuple(sizes[d] if isinstance(d, str) else d for d in port.shape)
            nbytes = int(np.prod(shape)) * plan.formats[port.name].stored.itemsize
            places[port.name] = Place(device.allocate(nbytes, "a step"), shape)
            device.stream.zero(places[port.name].address, nbytes)
    device.stream.upload(places["past_lengths"].address, cache.lengths)
    launch = plan.launch(
        {port.name: places[port.name] for port in plan.signature.inputs},
        {port.name: places[port.name] for port in plan.signature.outputs},
    )
    launch()
    device.stream.synchronize()
    graph = device.stream.capture(launch)
    kept = (launch, cache)  # the captured run uses their memory

    def run(count: int) -> None:
        assert kept
        for _ in range(count):
            graph.launch()
        device.stream.synchronize()

    return run


def _prefilled(
    backend: Any, config: Any, capacity: int, prefill: int, clock: Callable[[], float]
) -> dict[str, Any]:
    model = LanguageModel(backend.session(Graph.LANGUAGE_MODEL))
    tokens, seconds = min(prefill, capacity), []
    rows = [np.zeros((tokens, config.hidden_size), backend.float_dtype)]
    for _ in range(_ROUNDS):
        cache = KVCache.of(backend, config, 1, capacity)
        begin = clock()
        model.prefill(cache, rows)
        seconds.append(clock() - begin)
    return {"prefill_tokens": tokens, "prefill_s": Distribution.of(seconds[1:]).median}


def main() -> int:
    """Measure one engine and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engine", type=Path)
    parser.add_argument("--capacity", type=int)
    parser.add_argument("--position", type=int, default=200)
    parser.add_argument("--prefill", type=int, default=0)
    given = parser.parse_args()
    try:
        engine = Engine.open(given.engine)
        found = measure(engine, given.capacity, given.position, given.prefill)
    except JanusEdgeError as wrong:
        print(f"janus-edge: error: {wrong}", file=sys.stderr)
        return wrong.exit_code
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
