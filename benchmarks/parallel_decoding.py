"""Parallel decoding against the sequential loop: equal codes, passes, and seconds per picture.

    python benchmarks/parallel_decoding.py exact  work/miniature --output benchmarks/results/parallel-exact.json
    python benchmarks/parallel_decoding.py passes work/miniature --output benchmarks/results/parallel-passes.json
    python benchmarks/parallel_decoding.py time   work/miniature --output benchmarks/results/parallel-time.json

Prompts are those of `janus-edge evaluate`, its categories in turn. ``exact`` paints every prompt in both ways
at several settings and tells of every picture that differs where, and by how much its two leading
scores differed there. ``passes`` compares guesses, widths and settings. ``time`` paints single pictures
in both ways, in turns. Further BUNDLEs are recipes of the first: all three are told for each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from janus_edge.atomic_file import written_aside
from janus_edge.noise import gumbel
from janus_edge.runtime.guesses import GUESSES, Guess
from janus_edge.runtime.image_decoding import ImageDecoder, ImageRequest, image_codes
from janus_edge.runtime.parallel_decoding import ParallelDecoder
from janus_edge.runtime.pipeline import Janus
from janus_edge.shapes.prompts import CATEGORIES, prompts

#: Pictures painted at once: more fill the memory, fewer take longer.
BATCH = 16


def texts(count: int) -> list[str]:
    each = -(-count // len(CATEGORIES))
    rows = zip(*(prompts(c, each, 1234) for c in CATEGORIES), strict=True)
    return [prompt.text for row in rows for prompt in row][:count]


def requests(janus: Janus, count: int, scale: float, temperature: float) -> Iterator[ImageRequest]:
    """``count`` pictures in batches, each with a seed of its own."""
    for begin in range(0, count, BATCH):
        part = texts(count)[begin : begin + BATCH]
        rows = [janus.guidance_rows(text) for text in part]
        places = range(len(part))
        seeds = [begin + place for place in places]
        yield ImageRequest(rows, places, seeds, [0] * len(part), scale, temperature)


def sequential(janus: Janus, request: ImageRequest) -> np.ndarray:
    config = janus.bundle.manifest.config
    return np.stack(list(image_codes(config, janus.backend, request)), axis=1)


def parallel(
    janus: Janus, request: ImageRequest, width: int, guess: Guess
) -> tuple[np.ndarray, np.ndarray]:
    """Codes [P, T] and the passes that each picture took [P]."""
    config = janus.bundle.manifest.config
    decoder = ParallelDecoder(config, janus.backend, request, width, guess=guess)
    passes = np.zeros(len(request.seeds), int)
    while not decoder.finished:
        passes += decoder.advance() > 0
    return decoder.drawn, passes


def exact(janus: Janus, given: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for scale, temperature in product(given.guidance, given.temperature):
        differing, count = [], 0
        for request in requests(janus, given.pictures, scale, temperature):
            wanted = sequential(janus, request)
            found, _ = parallel(janus, request, given.width[-1], GUESSES[given.guess])
            count += len(wanted)
            for picture in np.flatnonzero((found != wanted).any(1)).tolist():
                place = int(np.argmax(found[picture] != wanted[picture]))
                gap = leading_gap(janus, request, picture, wanted[picture], place)
                differing.append({"position": place, "gap": gap})
        rows.append(
            {"guidance": scale, "temperature": temperature, "pictures": count, "differ": differing}
        )
        print(scale, temperature, count, len(differing), file=sys.stderr)
    return {"width": given.width[-1], "guess": given.guess, "settings": rows}


def leading_gap(
    janus: Janus, request: ImageRequest, picture: int, codes: np.ndarray, place: int
) -> float:
    """The difference of the two best scores, noise included, at one place of a picture."""
    config = janus.bundle.manifest.config
    alone = ImageRequest(
        [request.prompts[picture]], [0], [request.seeds[picture]], [request.indices[picture]],
        request.guidance_scale, request.temperature,
    )  # fmt: skip
    decoder = ImageDecoder(config, janus.backend, alone)
    decoder.first()
    for code in codes[:place]:
        decoder.codes[0] = code
        decoder.step()
    cond, uncond = decoder.logits.astype(np.float32)
    scores = uncond + np.float32(request.guidance_scale) * (cond - uncond)
    if request.temperature:
        scores = scores / np.float32(request.temperature)
        scores += gumbel(request.seeds[picture], request.indices[picture], place, len(scores))
    low, high = np.sort(scores)[-2:]
    return float(high - low)


def passes(janus: Janus, given: argparse.Namespace) -> dict[str, Any]:
    rows = []
    total = janus.bundle.manifest.config.image_tokens
    for name, width, scale, temperature in product(
        given.guesses, given.width, given.guidance, given.temperature
    ):
        found = [
            parallel(janus, request, width, GUESSES[name])[1]
            for request in requests(janus, given.pictures, scale, temperature)
        ]
        each = np.concatenate(found)
        rows.append(
            {
                "guess": name,
                "width": width,
                "guidance": scale,
                "temperature": temperature,
                "pictures": len(each),
                "mean_passes": float(each.mean()),
                "median_passes": float(np.median(each)),
                "most_passes": int(each.max()),
                "fewer": float((total - 1) / each.mean()),
            }
        )
        print(name, width, scale, temperature, round(rows[-1]["fewer"], 2), file=sys.stderr)
    return {"sequential_passes": total - 1, "settings": rows}


def seconds(janus: Janus, given: argparse.Namespace) -> dict[str, Any]:
    ways: list[Any] = ["off", *given.width, "auto"]
    rows = []
    for scale, temperature in product(given.guidance, given.temperature):
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
                        "median_passes": statistics.median(ran[way]),
                        "median_speedup": statistics.median(
                            [a / b for a, b in zip(taken["off"], taken[way], strict=True)]
                        ),
                    }
                    for way in ways
                },
            }
        )
        print(json.dumps(rows[-1]), file=sys.stderr)
    return {"settings": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["exact", "passes", "time"])
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--width", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--guidance", type=float, nargs="+", default=[5.0])
    parser.add_argument("--temperature", type=float, nargs="+", default=[1.0])
    parser.add_argument("--guesses", nargs="+", choices=GUESSES, default=[*GUESSES])
    parser.add_argument("--guess", choices=GUESSES, default="continued", help="of `exact`")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    run = {"exact": exact, "passes": passes, "time": seconds}[given.what]
    found = {}
    for path in given.bundles:
        with Janus.load(path, threads=given.threads) as janus:
            found[path.name] = run(janus, given)
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
