"""Time a painting step of an engine, captured and uncaptured, against the memory's limit.

    python -m benchmarks.gpu_check.step_time ENGINE BUNDLE [--codes N] [--seconds S]

The engine was built from BUNDLE: a step must read the bytes of its weights as stored, and of the
filled cache. Prints JSON. Pictures are painted until S seconds have passed, at least one. Codes that
a backend returns in groups are timed by group.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.sensors import Sensors
from benchmarks.gpu_check.steps import PROMPTS, request
from janus_edge.bench.bandwidth import Bandwidth, MeasuresBandwidth, measure_bandwidth
from janus_edge.bench.distribution import Distribution
from janus_edge.bench.instruments import find_instruments
from janus_edge.bench.recorder import Binding
from janus_edge.bench.roofline import roofline, step_weights
from janus_edge.bench.timeline import TOTAL
from janus_edge.bundle import Bundle
from janus_edge.cuda_driver import first_gpu
from janus_edge.engine import Engine
from janus_edge.errors import JanusEdgeError
from janus_edge.runtime.image_decoding import image_codes
from janus_edge.runtime.kv_cache import cache_bytes, cache_dtype, planned_capacity
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import open_backend

#: Groups of codes that do not count at a picture's start: kernels are compiled, steps are captured.
_WARM_UP = 2

Clock = Callable[[], float]


def step_times(
    janus: Janus, codes: int | None, seconds: float, clock: Clock = time.perf_counter
) -> tuple[list[float], float]:
    """Return the seconds of each step (a mean per group of codes) and those up to the first code."""
    every, end, first = getattr(janus.backend, "fetch_every", 1), clock() + seconds, 0.0
    steps: list[float] = []
    while not steps or clock() < end:
        begin = clock()
        stamps = [clock() for _ in _codes(janus, codes)]
        groups = stamps[every - 1 :: every]
        times = [(b - a) / every for a, b in itertools.pairwise(groups)]
        steps += times[_WARM_UP:] or times
        first = first or stamps[0] - begin
    return steps, first


def _codes(janus: Janus, count: int | None) -> Iterator[object]:
    made = request(janus.guidance_rows(PROMPTS[0]), 0)
    codes = image_codes(janus.bundle.manifest.config, janus.backend, made)
    yield from itertools.islice(codes, count)


def measure(
    engine: Engine, bundle: Bundle, codes: int | None, seconds: float, clock: Clock
) -> dict[str, Any]:
    """Return all figures of one engine."""
    found: dict[str, Any] = {}
    instruments, gpu = find_instruments(gpu=True), _gpu()
    for name, captured in (("captured", True), ("uncaptured", False)):
        with Janus(engine, open_backend(engine, cuda_graph=captured)) as janus:
            with (
                instruments.meter() as meter,
                instruments.watch() as watch,
                Sensors(gpu) as sensors,
            ):
                steps, first = step_times(janus, codes, seconds, clock)
            times = Distribution.of(steps)
            found[name] = {"step_s": times.median, "step_p90_s": times.p90, "first_code_s": first,
                           "timed": times.count}  # fmt: skip
            if captured:
                found |= _limit(janus, bundle, times)
                found |= {"sensors": sensors.figures, "energy": asdict(meter.energy),
                          "device_state": asdict(watch.state)}  # fmt: skip
    instruments.close()
    found["captured_speedup"] = found["uncaptured"]["step_s"] / found["captured"]["step_s"]
    return found


def _limit(janus: Janus, bundle: Bundle, times: Distribution) -> dict[str, Any]:
    """Return the limit (bytes of a step over the bandwidth) and the peak of the device's memory."""
    config, backend = bundle.manifest.config, janus.backend
    length = len(janus.guidance_rows(PROMPTS[0])[0])
    capacity = planned_capacity(config.language, [length], config.image_tokens - 1)
    per_position = cache_bytes(config.language, 2, 1, cache_dtype(backend).itemsize)
    peak = getattr(
        backend, "device_memory_peak", lambda: None
    )()  # before the buffers of the copies
    bandwidth = _bandwidth(backend)
    limits = roofline(
        step_weights(bundle, "image"), Binding(2, 1, capacity, per_position), 1,
        length + config.image_tokens // 2, {TOTAL: times}, bandwidth, 0,
    )  # fmt: skip
    limit = limits.limits[TOTAL]
    return {
        "device_bytes": peak,
        "position": limits.position,
        "bytes_per_step": limit.traffic.total,
        "weight_bytes_per_step": limit.traffic.weights,
        "cache_bytes_per_step": limit.traffic.cache,
        "copy_bytes_per_second": bandwidth.bytes_per_second,
        "limit_s": limit.seconds,
        "share_of_limit": limit.share,
    }


def _bandwidth(backend: Any) -> Bandwidth:
    if isinstance(backend, MeasuresBandwidth):
        return Bandwidth.of_device(backend.read_bandwidth())
    return measure_bandwidth(1, 256 << 20, passes=1)


def _gpu() -> str:
    try:
        return first_gpu().name
    except JanusEdgeError:
        return ""


def main() -> int:
    """Measure one engine and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engine", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--codes", type=int, help="number of codes per picture; default: all")
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    try:
        engine, bundle = Engine.open(given.engine), Bundle.open(given.bundle, verify=False)
        found = measure(engine, bundle, given.codes, given.seconds, time.perf_counter)
    except JanusEdgeError as wrong:
        print(f"janus-edge: error: {wrong}", file=sys.stderr)
        return wrong.exit_code
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
