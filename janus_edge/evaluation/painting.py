"""Painting prompts at several guidance scales, and reading what came of them.

A round is one prompt of every category, painted in one batch with a seed of its own. The runtime
keys its noise by the seed and not by the prompt: pictures that share a seed begin alike. So within
a category all pictures are independent, as its interval assumes, and across the categories the
interval is one of rounds. The scales use the same seeds and can be compared picture by picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np

from janus_edge.evaluation.options import SEEDS, Options
from janus_edge.evaluation.report import Painted, Painting
from janus_edge.shapes.prompts import CATEGORIES, Prompt, fault, prompts
from janus_edge.shapes.reader import read

if TYPE_CHECKING:
    from PIL import Image

    from janus_edge.runtime.generation import Parallel
    from janus_edge.runtime.pipeline import Janus

#: Is shown every picture with its outcome as soon as it is judged.
Look = Callable[[Painted, "Image.Image"], None]


def rounds(options: Options) -> list[tuple[Prompt, ...]]:
    """The prompts of an evaluation: round after round, one of each category."""
    lists = [prompts(category, options.prompts, options.seed) for category in CATEGORIES]
    return list(zip(*lists, strict=True))


def paint(
    janus: Janus,
    options: Options,
    progress: Callable[[int, int], None] = lambda done, total: None,
    look: Look = lambda painted, image: None,
) -> Painting:
    """Paint every round at every scale with temperature 1; ``progress(done, total)`` in pictures.

    Raises what ``Janus.generate`` raises.
    """
    asked, parallel = rounds(options), cast("Parallel", options.parallel)
    total = len(options.guidance_scales) * len(asked) * len(CATEGORIES)
    painted: list[Painted] = []
    progress(0, total)
    for scale in options.guidance_scales:
        for seed, once in enumerate(asked, options.seed * SEEDS):
            texts = [prompt.text for prompt in once]
            pictures = janus.generate(
                texts, seed=seed, guidance_scale=scale, temperature=1.0, parallel=parallel
            )
            for prompt, picture in zip(once, pictures, strict=True):
                why = fault(prompt, read(np.asarray(picture.image)))
                outcome = Painted(prompt.category, prompt.text, seed, scale, why)
                painted.append(outcome)
                look(outcome, picture.image)
            progress(len(painted), total)
    return Painting.of(painted)
