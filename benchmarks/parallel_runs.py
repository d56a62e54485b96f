"""What the measurements of `parallel_decoding.py` share: prompts, batches, and both loops to the end."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from janus_edge.runtime.guesses import FixedSource, Guess, Source
from janus_edge.runtime.image_decoding import ImageRequest, image_codes
from janus_edge.runtime.parallel_decoding import ParallelDecoder
from janus_edge.runtime.pipeline import Janus
from janus_edge.shapes.prompts import CATEGORIES, prompts

#: Pictures painted at once: more fill the memory, fewer take longer.
BATCH = 16

#: Prompts and first seed of the pictures that are measured.
_PROMPTS, _SEED = 1234, 0


def texts(count: int, seed: int = _PROMPTS) -> list[str]:
    """Prompts of `janus-edge evaluate`, its categories in turn."""
    each = -(-count // len(CATEGORIES))
    rows = zip(*(prompts(c, each, seed) for c in CATEGORIES), strict=True)
    return [prompt.text for row in rows for prompt in row][:count]


def requests(
    janus: Janus, count: int, scale: float, temperature: float, prompt_seed: int = _PROMPTS,
    first_seed: int = _SEED,
) -> Iterator[ImageRequest]:  # fmt: skip
    """``count`` pictures in batches, each with a prompt and a seed of its own."""
    every = texts(count, prompt_seed)
    for begin in range(0, count, BATCH):
        part = every[begin : begin + BATCH]
        rows = [janus.guidance_rows(text) for text in part]
        places = range(len(part))
        seeds = [first_seed + begin + place for place in places]
        yield ImageRequest(rows, places, seeds, [0] * len(part), scale, temperature)


def sequential(janus: Janus, request: ImageRequest) -> np.ndarray:
    """Codes [P, T] of the sequential loop."""
    config = janus.bundle.manifest.config
    return np.stack(list(image_codes(config, janus.backend, request)), axis=1)


#: Where guesses behind a refuted one come from: as the runtime decides, guessed anew, or the pass' choices.
SOURCES: dict[str, Callable[[], Source]] = {
    "runtime": Source,
    "anew": lambda: FixedSource(True),
    "choices": lambda: FixedSource(False),
}


def parallel(
    janus: Janus, request: ImageRequest, width: int, guess: Guess, source: str = "runtime"
) -> tuple[np.ndarray, np.ndarray]:
    """Codes [P, T] and the passes that each picture took [P]."""
    config, made = janus.bundle.manifest.config, SOURCES[source]
    decoder = ParallelDecoder(config, janus.backend, request, width, guess=guess, source=made)
    passes = np.zeros(len(request.seeds), int)
    while not decoder.finished:
        passes += decoder.advance() > 0
    return decoder.drawn, passes


def told(each: np.ndarray, total: int, **setting: Any) -> dict[str, Any]:
    """The passes [P] that pictures of ``total`` codes took, with the setting before them.

    ``fewer`` is how many times fewer than the sequential loop's. The pictures of all settings are the
    same, so that differences may be taken picture by picture (``each``).
    """
    mean = float(each.mean())
    error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else None
    return {
        **setting,
        "pictures": len(each),
        "mean_passes": mean,
        "standard_error_of_mean": error,
        "median_passes": float(np.median(each)),
        "most_passes": int(each.max()),
        "fewer": (total - 1) / mean,
        "each": each.tolist(),
    }


def settings(given: argparse.Namespace) -> Iterator[tuple[float, float]]:
    """Guidance and temperature, each with each."""
    for scale in given.guidance:
        for temperature in given.temperature:
            yield scale, temperature
