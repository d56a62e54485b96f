"""What is evaluated, and on how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

from janus_edge.errors import InputError
from janus_edge.runtime.generation import MAX_GUIDANCE, check_parallel

PARTS = ("painting", "understanding", "reconstruction")

#: Pictures of one evaluation have seeds from ``seed * SEEDS`` on, so that no two share one.
SEEDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of an evaluation; equal ones give equal reports, but for the seconds.

    ``prompts`` of each category are painted at each of ``guidance_scales``, ``questions`` of each
    kind are asked, ``scenes`` are turned into codes and back. ``seed`` chooses all of them and the
    noise. ``parallel`` is that of painting. Raises InputError for numbers that cannot be used.
    """

    guidance_scales: tuple[float, ...] = (1.0, 3.0, 5.0)
    prompts: int = 16
    questions: int = 40
    scenes: int = 100
    seed: int = 0
    parts: tuple[str, ...] = PARTS
    parallel: str | int = "off"

    def __post_init__(self) -> None:
        check_parallel(self.parallel)
        for name in ("prompts", "questions", "scenes"):
            count = getattr(self, name)
            if not 1 <= count <= SEEDS:
                raise InputError(f"{name} must be from 1 to {SEEDS}, found {count}")
        if not 0 <= self.seed < 2**32:
            raise InputError(
                f"the seed of an evaluation must be from 0 to 2**32 - 1, found {self.seed}"
            )
        scales = self.guidance_scales
        if not scales or len(set(scales)) < len(scales):
            given = ", ".join(f"{scale:g}" for scale in scales) or "none"
            raise InputError(f"give at least one guidance scale, and each once; found {given}")
        for scale in scales:
            if not (math.isfinite(scale) and abs(scale) <= MAX_GUIDANCE):
                raise InputError(f"a guidance scale must be within {MAX_GUIDANCE:g}, found {scale}")
        if not self.parts or not set(self.parts) <= set(PARTS):
            raise InputError(f"parts must be of {', '.join(PARTS)}; found {', '.join(self.parts)}")
