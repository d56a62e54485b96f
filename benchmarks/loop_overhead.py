"""Host time of a painting step: what the loop takes besides the graphs that it calls.

    python benchmarks/loop_overhead.py work/miniature --output benchmarks/results/loop-overhead.json

BUNDLE is a bundle or an engine of ONNX Runtime. For each number of pictures steps are painted in
rounds, all numbers in turn. A step's host time is its own less that of its calls, told as seconds on
the clock and as seconds of the thread's processor time, which a busy machine hardly changes. ``noise``
is its part that draws noise where it can decide; ``whole noise`` is what drawing every entry takes,
as a loop without bounds would do, measured between the steps. Noise is drawn for several positions at
once, so it is the mean that counts, not the median.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from janus_edge.atomic_file import written_aside
from janus_edge.graphs import Graph
from janus_edge.lazy_noise import DecidingNoise
from janus_edge.noise import gumbel_rows
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest
from janus_edge.runtime.kv_cache import cache_dtype
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import Backend, Call, Session

#: Clock and processor seconds.
Pair = tuple[float, float]


def now() -> Pair:
    return time.perf_counter(), time.thread_time()


class Timed:
    """A backend whose calls add up in ``inside`` until it is taken."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.float_dtype, self.cache_dtype = inner.float_dtype, cache_dtype(inner)
        self._inside = [0.0, 0.0]

    def session(self, graph: Graph) -> Session:
        return _TimedSession(self._inner.session(graph), self)

    def close(self) -> None:
        self._inner.close()

    def timed(self, call: Callable[[], Any]) -> None:
        before = now()
        call()
        for index, (end, begin) in enumerate(zip(now(), before, strict=True)):
            self._inside[index] += end - begin

    def taken(self) -> Pair:
        clock, processor = self._inside
        self._inside = [0.0, 0.0]
        return clock, processor


class _TimedSession:
    def __init__(self, session: Session, backend: Timed) -> None:
        self._session, self._backend = session, backend

    def bind(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Call:
        call = self._session.bind(inputs, outputs)
        return lambda: self._backend.timed(call)


class TimedNoise:
    """Adds up the time of drawing noise while it is entered, whole or where it decides."""

    _METHODS = ("draw", "draw_all")

    def __enter__(self) -> TimedNoise:
        self.inside = [0.0, 0.0]
        self._plain = {name: getattr(DecidingNoise, name) for name in self._METHODS}
        for name, method in self._plain.items():
            setattr(DecidingNoise, name, self._timed(method))
        return self

    def __exit__(self, *_: object) -> None:
        for name, method in self._plain.items():
            setattr(DecidingNoise, name, method)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def draw(*arguments: Any) -> Any:
            before = now()
            found = method(*arguments)
            for index, (end, begin) in enumerate(zip(now(), before, strict=True)):
                self.inside[index] += end - begin
            return found

        return draw


def request(janus: Janus, pictures: int, temperature: float) -> ImageRequest:
    rows = [janus.guidance_rows("a red circle")]
    places = [0] * pictures
    return ImageRequest(rows, places, [1] * pictures, range(pictures), 5.0, temperature)


def measure(janus: Janus, pictures: int, steps: int, temperature: float) -> list[dict[str, Pair]]:
    """Each step's clock and processor seconds by part."""
    config, backend = janus.bundle.manifest.config, Timed(janus.backend)
    decoder = ImageDecoder(config, backend, request(janus, pictures, temperature))
    decoder.first()
    size, found = config.vq.codebook_size, list[dict[str, Pair]]()
    whole_rows = np.empty((pictures, size), np.float32)
    for step in range(min(steps, config.image_tokens - 1)):
        backend.taken()
        with TimedNoise() as noise:
            begin = now()
            decoder.step()
            end = now()
        inside = backend.taken()
        before = now()
        gumbel_rows([1] * pictures, range(pictures), step, size, out=whole_rows)
        after = now()
        whole = (end[0] - begin[0], end[1] - begin[1])
        found.append(
            {
                "step": whole,
                "kernels": inside,
                "host": (whole[0] - inside[0], whole[1] - inside[1]),
                "noise": (noise.inside[0], noise.inside[1]),
                "whole noise": (after[0] - before[0], after[1] - before[1]),
            }
        )
    return found


def summary(steps: list[dict[str, Pair]]) -> dict[str, Any]:
    told: dict[str, Any] = {"steps": len(steps)}
    for part in steps[0]:
        for index, kind in enumerate(("clock", "processor")):
            values = sorted(step[part][index] * 1e6 for step in steps)
            told[f"{part}, {kind} us"] = {
                "median": round(statistics.median(values), 1),
                "mean": round(statistics.fmean(values), 1),
                "p90": round(values[int(0.9 * (len(values) - 1))], 1),
                "min": round(values[0], 1),
            }
    told["host share"] = round(
        told["host, processor us"]["mean"] / told["step, processor us"]["mean"], 4
    )
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    found: dict[int, list[dict[str, Pair]]] = {count: [] for count in options.pictures}
    with Janus.load(options.bundle, threads=options.threads, verify=False) as janus:
        for number in range(1 + options.rounds):
            for count, steps in found.items():
                measured = measure(janus, count, options.steps, options.temperature)
                if number:
                    steps += measured
        recipe = janus.bundle.manifest.recipe.name
    results = {str(count): summary(steps) for count, steps in found.items()}
    for pictures, told in results.items():
        print(
            f"{pictures:>3} pictures: step {told['step, clock us']['median']:9.0f} us, host "
            f"{told['host, clock us']['mean']:7.0f} us on the clock, "
            f"{told['host, processor us']['mean']:7.0f} us of the processor "
            f"({100 * told['host share']:.1f} % of a step), noise "
            f"{told['noise, processor us']['mean']:.0f}, whole noise "
            f"{told['whole noise, processor us']['mean']:.0f}"
        )
    report = {
        "machine": describe(), "bundle": options.bundle.name, "recipe": recipe,
        "temperature": options.temperature, "threads": options.threads, "pictures": results,
    }  # fmt: skip
    with written_aside(options.output) as aside:
        aside.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
