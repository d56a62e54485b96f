"""Parallel decoding against the sequential loop: equal codes, passes, and seconds per picture.

    python benchmarks/parallel_decoding.py exact  work/miniature --output benchmarks/results/parallel-exact.json
    python benchmarks/parallel_decoding.py passes work/miniature --output benchmarks/results/parallel-passes.json
    python benchmarks/parallel_decoding.py time   work/miniature --output benchmarks/results/parallel-time.json
    python benchmarks/parallel_decoding.py cost   work/janus-1b  --output benchmarks/results/parallel-cost.json

Prompts are those of `janus-edge evaluate`, its categories in turn. ``exact`` paints every prompt in both ways
at several settings and tells of every picture that differs where, and by how much its two leading
scores differed there. ``scores`` judges them (`janus-edge evaluate`), picture by picture. ``passes`` compares guesses, widths and settings. ``time`` paints single pictures
in both ways, in turns. Further BUNDLEs are recipes of the first: all three are told for each. ``cost``
measures a pass over several widths, in turns, of all BUNDLEs and engines. ``tables`` and ``rejection`` are
experiments that led to no code: guesses from counts, and drawing from the distribution (see
parallel_tables.py and parallel_rejection.py). `plot_parallel.py` draws what was written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from parallel_costs import CLOCKS, cost
from parallel_exactness import exact
from parallel_rejection import rejection
from parallel_runs import SOURCES, parallel, requests, settings, texts, told
from parallel_scores import scores
from parallel_tables import tables

from janus_edge.atomic_file import written_aside
from janus_edge.runtime.guesses import GUESSES
from janus_edge.runtime.pipeline import Janus


def passes(janus: Janus, given: argparse.Namespace) -> dict[str, Any]:
    """Passes of each guess at each width and setting."""
    rows = []
    total = janus.bundle.manifest.config.image_tokens
    for name, source, width, (scale, temperature) in product(
        given.guesses, given.sources, given.width, [*settings(given)]
    ):
        each = np.concatenate(
            [
                parallel(janus, request, width, GUESSES[name], source)[1]
                for request in requests(janus, given.pictures, scale, temperature)
            ]
        )
        row = told(
            each, total, guess=name, source=source, width=width, guidance=scale, temperature=temperature,
        )  # fmt: skip
        rows.append(row)
        print(name, source, width, scale, temperature, round(row["fewer"], 2), file=sys.stderr)
    return {"sequential_passes": total - 1, "settings": rows}


def seconds(janus: Janus, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of whole pictures, painted one by one in all ways in turn."""
    ways: list[Any] = ["off", *given.width, "auto"]
    rows = []
    for scale, temperature in settings(given):
        taken: dict[Any, list[float]] = {way: [] for way in ways}
        ran: dict[Any, list[int]] = {way: [] for way in ways}
        janus.generate("a warm-up", guidance_scale=scale, parallel="auto")
        for seed, text in enumerate(texts(given.pictures)):
            for way in ways:
                started = time.perf_counter()
                *_, last = janus.generate_steps(text, 1, seed, scale, temperature, parallel=way)
                taken[way].append(time.perf_counter() - started)
                ran[way].append(last.passes)
        rows.append(
            {
                "guidance": scale,
                "temperature": temperature,
                "pictures": given.pictures,
                "ways": {
                    str(way): {
                        "median_seconds": statistics.median(taken[way]),
                        "mean_seconds": statistics.mean(taken[way]),
                        "median_passes": statistics.median(ran[way]),
                        "mean_passes": statistics.mean(ran[way]),
                        "median_speedup": statistics.median(
                            [a / b for a, b in zip(taken["off"], taken[way], strict=True)]
                        ),
                        # of all pictures one after the other
                        "speedup": sum(taken["off"]) / sum(taken[way]),
                    }
                    for way in ways
                },
            }
        )
        print(json.dumps(rows[-1]), file=sys.stderr)
    return {"precision": janus.bundle.manifest.recipe.name, "settings": rows}


RUNS = {
    "exact": exact, "passes": passes, "time": seconds, "scores": scores, "tables": tables,
    "rejection": rejection,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=[*RUNS, "cost"])
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--width", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--guidance", type=float, nargs="+", default=[5.0])
    parser.add_argument("--temperature", type=float, nargs="+", default=[1.0])
    parser.add_argument("--guesses", nargs="+", choices=GUESSES, default=[*GUESSES])
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=["runtime"])
    parser.add_argument("--guess", choices=GUESSES, default="continued", help="of `exact`")
    parser.add_argument("--counted", type=int, default=256, help="pictures of a table, of `tables`")
    parser.add_argument("--encoded", type=int, default=4000, help="scenes of a table, of `tables`")
    parser.add_argument("--repeats", type=int, default=15, help="passes of each width, of `cost`")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="of `cost`")
    parser.add_argument("--prompt", type=int, default=20, help="tokens of the prompt, of `cost`")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    found = {}
    if given.what == "cost":
        found = cost(given.bundles, given)
    else:
        for path in given.bundles:
            with Janus.load(path, threads=given.threads) as janus:
                found[path.name] = RUNS[given.what](janus, given)
            if given.output:  # after each: the next may take an hour
                write(given, found)
    write(given, found)


def write(given: argparse.Namespace, found: dict[str, Any]) -> None:
    """The report as far as it is, to the output or the screen."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    report = {
        "command": " ".join(["python", "benchmarks/parallel_decoding.py", *words]),
        "machine": describe(),
        "bundles": found,
    }
    text = json.dumps(report, indent=1) + "\n"
    if not given.output:
        print(text)
        return
    with written_aside(given.output) as aside:
        aside.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
