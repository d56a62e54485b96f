"""Painting prompts at several guidance scales, and reading what came of them.

A round is one prompt of every category, with a seed of its own. The runtime keys its noise by the
seed and not by the prompt: pictures that share a seed begin alike. So within a category all
pictures are independent, as its interval assumes, and across the categories the interval is one of
rounds. The scales use the same seeds and can be compared picture by picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from janus_edge.engine_manifest import EngineManifest
from janus_edge.evaluation.options import SEEDS, Options
from janus_edge.evaluation.paired import Pairing
from janus_edge.evaluation.record import Outcome, Record, codes_hash
from janus_edge.evaluation.report import Painted, Painting
from janus_edge.shapes.prompts import CATEGORIES, Prompt, fault, prompts
from janus_edge.shapes.reader import read

if TYPE_CHECKING:
    from PIL import Image

    from janus_edge.runtime.generation import Parallel
    from janus_edge.runtime.pipeline import Janus

#: Is shown every picture with its outcome as soon as it is judged.
Look = Callable[[Painted, "Image.Image"], None]

#: Rounds that are painted in one batch: with `--parallel 8`, 28 pictures take 0.8 of the time per
#: picture that 7 take.
AT_ONCE = 4


def rounds(options: Options) -> list[tuple[Prompt, ...]]:
    """The prompts of an evaluation: round after round, one of each category."""
    lists = [prompts(category, options.prompts, options.seed) for category in CATEGORIES]
    return list(zip(*lists, strict=True))


def paint(
    janus: Janus,
    options: Options,
    progress: Callable[[int, int], None] = lambda done, total: None,
    look: Look = lambda painted, image: None,
    record: Record | None = None,
    pairing: Pairing | None = None,
) -> Painting:
    """Paint every round at every scale with temperature 1; ``progress(done, total)`` in pictures.

    Pictures that ``record`` has are not painted again (nor looked at), new ones are added to it.
    Stops early when ``pairing`` is settled. Raises what ``Janus.generate`` and they raise.
    """
    total = len(options.guidance_scales) * options.prompts * len(CATEGORIES)
    painted: list[Painted] = []
    progress(0, total)
    for scale, batch in _batches(options, rounds_at_once(janus)):
        outcomes = [_known(record, p, s, scale) for p, s in batch]
        missing = [one for one, known in zip(batch, outcomes, strict=True) if not known]
        new = _paint(janus, options, scale, missing, look) if missing else []
        if record is not None and new:
            record.add(new)
        fresh = iter(new)
        whole = [known or next(fresh) for known in outcomes]
        painted += [outcome.painted for outcome in whole]
        progress(len(painted), total)
        if pairing:
            pairing.add(whole)
            if pairing.settled:
                break
    return Painting.of(painted)


def _known(record: Record | None, prompt: Prompt, seed: int, scale: float) -> Outcome | None:
    return None if record is None else record.find(prompt.category, prompt.text, seed, scale)


def rounds_at_once(janus: Janus) -> int:
    """The rounds in a batch: AT_ONCE, or what an engine's profile has room for, but at least 1."""
    manifest = janus.bundle.manifest
    if not isinstance(manifest, EngineManifest) or not manifest.profiles:
        return AT_ONCE
    pictures = manifest.profiles[-1].rows.largest // 2
    return max(1, min(AT_ONCE, pictures // len(CATEGORIES)))


def _batches(options: Options, at_once: int) -> Iterable[tuple[float, list[tuple[Prompt, int]]]]:
    """Scale and (prompt, seed) of what is painted together, a few whole rounds at a time."""
    seeded = list(enumerate(rounds(options), options.seed * SEEDS))
    for scale in options.guidance_scales:
        for start in range(0, len(seeded), at_once):
            together = seeded[start : start + at_once]
            yield scale, [(prompt, seed) for seed, once in together for prompt in once]


def _paint(
    janus: Janus, options: Options, scale: float, asked: Sequence[tuple[Prompt, int]], look: Look
) -> list[Outcome]:
    pictures = janus.generate(
        [prompt.text for prompt, _ in asked],
        seed=[seed for _, seed in asked],
        guidance_scale=scale,
        temperature=1.0,
        parallel=cast("Parallel", options.parallel),
    )
    found = []
    for (prompt, seed), picture in zip(asked, pictures, strict=True):
        pixels = np.asarray(picture.image)
        painted = Painted(prompt.category, prompt.text, seed, scale, fault(prompt, read(pixels)))
        found.append(Outcome(painted, codes_hash(picture.codes)))
        look(painted, picture.image)
    return found
