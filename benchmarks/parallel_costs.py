"""The cost of a pass over W positions, graph by graph: `parallel_decoding.py cost`.

All bundles are opened at once and measured in turns, width by width, so that what else the machine
does meets all of them. A pass is over one picture (two rows), half-way through its codes; what the
graphs take is the runtime's own calls with a clock around each. `ROWS_APART` is the language model
called once for each row: an `ort-cpu` engine then takes GroupQueryAttention for several new tokens,
which it does not for two rows with a past, and reads the weights twice. On a machine that others use,
``--clock processor --threads 1`` counts what the process itself computed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from janus_edge.bench.recorder import Clock, Recorder, TimedBackend
from janus_edge.engine import Engine
from janus_edge.graphs import Graph
from janus_edge.runtime.image_decoding import ImageRequest
from janus_edge.runtime.kv_cache import CacheArray, KVCache, planned_capacity
from janus_edge.runtime.language_model import LanguageModel, Step
from janus_edge.runtime.parallel_decoding import Window
from janus_edge.runtime.pipeline import Janus

#: All of a pass; and, beside it, its language model row by row.
PASS, ROWS_APART = "pass", "language_model, rows apart"

#: What ``--clock`` reads, in nanoseconds.
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter_ns, "processor": time.process_time_ns}


class Passes:
    """The windows of one bundle; :meth:`run` returns nanoseconds by graph, and of all of it."""

    def __init__(self, janus: Janus, widths: list[int], prompt: int, clock: Clock) -> None:
        config = janus.bundle.manifest.config
        self.janus, self._recorder, self._clock = janus, Recorder(clock), clock
        backend = TimedBackend(janus.backend, self._recorder)
        filled = prompt + config.image_tokens // 2
        room = config.image_tokens - config.image_tokens // 2 + max(widths)
        cache = KVCache.of(
            backend, config.language, 2, planned_capacity(config.language, [filled], room)
        )
        cache.lengths[:] = filled
        self.position = filled
        request = ImageRequest((), (), (), (), 5.0, 1.0)
        self._windows = {w: Window(config, backend, cache, w, request) for w in widths}
        self._rows = {w: self._apart(cache, w) for w in widths}
        codes = np.random.default_rng(0).integers(0, config.vq.codebook_size, max(widths))
        for width, window in self._windows.items():
            window.codes[:] = codes[:width]

    def run(self, width: int) -> dict[str, int]:
        """One pass."""
        self._recorder.take()
        started = self._clock()
        self._windows[width].run()
        found = {PASS: self._clock() - started}
        for event in self._recorder.take():
            found[event.what] = found.get(event.what, 0) + event.nanoseconds
        started = self._clock()
        for step in self._rows[width]:
            step.run()
        return {**found, ROWS_APART: self._clock() - started}

    def _apart(self, cache: KVCache, width: int) -> list[Step]:
        """A call for each row, on that row's part of the same cache."""
        session = self.janus.backend.session(Graph.LANGUAGE_MODEL)
        steps = []
        for row in range(cache.rows):
            part = copy(cache)
            part.buffers = [buffer[row : row + 1].view(CacheArray) for buffer in cache.buffers]
            part.lengths = cache.lengths[row : row + 1]
            steps.append(LanguageModel(session).plan(part, width))
        return steps


def cost(paths: list[Path], given: argparse.Namespace) -> dict[str, Any]:
    """By bundle and width: seconds of each graph and of the pass, and what it costs beside width 1."""
    taken: dict[tuple[str, int], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        subjects = {}
        for path in paths:
            janus = stack.enter_context(Janus.load(path, threads=given.threads, verify=False))
            kind = "engine" if isinstance(janus.bundle, Engine) else "bundle"
            subjects[f"{path.name} ({kind})"] = Passes(
                janus, given.width, given.prompt, CLOCKS[given.clock]
            )
            print(path.name, "is open", file=sys.stderr)
        for repeat in range(1 + given.repeats):
            for width in given.width:
                for name, subject in subjects.items():
                    found = subject.run(width)
                    if repeat:  # the first is not counted
                        for part, nanoseconds in found.items():
                            taken[name, width][part].append(nanoseconds)
        return {
            name: {
                "precision": subject.janus.bundle.manifest.recipe.name,
                "position": subject.position,
                "widths": {
                    str(width): _row(taken[name, width], taken[name, given.width[0]])
                    for width in given.width
                },
            }
            for name, subject in subjects.items()
        }


def _row(parts: dict[str, list[int]], first: dict[str, list[int]]) -> dict[str, Any]:
    """``beside_first`` is the median ratio to the pass of the first width in the same turn."""
    ratios = [a / b for a, b in zip(parts[PASS], first[PASS], strict=True)]
    tenths = statistics.quantiles(parts[PASS], n=10) if len(parts[PASS]) > 1 else parts[PASS]
    return {
        "median_seconds": {part: statistics.median(row) / 1e9 for part, row in parts.items()},
        "p10_seconds": tenths[0] / 1e9,
        "p90_seconds": tenths[-1] / 1e9,
        "beside_first": statistics.median(ratios),
        "passes": len(ratios),
    }
