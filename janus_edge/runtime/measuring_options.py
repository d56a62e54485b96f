"""What bundles are compared on: prompts, images, noise and settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from janus_edge.errors import InputError
from janus_edge.noise import check_seed
from janus_edge.runtime.generation import MAX_GUIDANCE, MAX_TEMPERATURE, MIN_TEMPERATURE

#: One of each of GenEval's categories, in words that the miniature knows too.
PROMPTS = (
    "a photo of a star",
    "a photo of a square and a ring",
    "a photo of three squares",
    "a photo of a blue circle",
    "a photo of a circle right of a square",
    "a photo of a green ring and a blue square",
    "a photo of two red squares, a pink ring and a blue circle on a grey background",
)
QUESTIONS = (
    "What is in this picture?",
    "How many objects are there?",
    "Is there a red circle?",
)

#: Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class MeasuringOptions:
    """What bundles are compared on; equal ones give equal figures.

    ``prompts`` are painted, the first ``steps`` codes of each (None: whole pictures), prompt i with
    the noise of ``seed`` + i. ``questions`` are asked about each of ``images`` (files or PIL images;
    None: the shipped photograph and the first ``pictures`` whole pictures that were painted), and
    answered with at most ``max_new_tokens``. ``free_running`` of the prompts are painted by the other bundle
    as well. Raises InputError for what cannot be used.
    """

    prompts: tuple[str, ...] = PROMPTS
    steps: int | None = None
    seed: int = 0
    guidance_scale: float = 5.0
    temperature: float = 1.0
    images: tuple[str | Path | Image.Image, ...] | None = None
    pictures: int = 2
    questions: tuple[str, ...] = QUESTIONS
    max_new_tokens: int = 64
    free_running: int = 2

    def __post_init__(self) -> None:
        for name in ("prompts", "questions"):
            texts = getattr(self, name)
            if not texts or isinstance(texts, str) or not all(isinstance(t, str) for t in texts):
                raise InputError(f"{name} must be a list of strings, at least one; found {texts!r}")
        if self.images is not None and not self.images:
            raise InputError("no image was given; leave images out for the shipped photograph")
        least = {"pictures": 0, "max_new_tokens": 1, "free_running": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"{name} must be at least {lowest}, found {getattr(self, name)}")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps must be at least 1, found {self.steps}")
        check_seed(self.seed)
        check_seed(self.seed + len(self.prompts) - 1)
        if not (math.isfinite(self.guidance_scale) and abs(self.guidance_scale) <= MAX_GUIDANCE):
            raise InputError(
                f"guidance_scale must be within {MAX_GUIDANCE:g}, found {self.guidance_scale}"
            )
        if not MIN_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE:  # NaN, too
            raise InputError(
                f"a divergence needs a temperature from {MIN_TEMPERATURE:g} to "
                f"{MAX_TEMPERATURE:g}, found {self.temperature}"
            )
