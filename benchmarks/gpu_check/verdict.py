"""The rule that puts differing codes down to rounding or to a mistake.

    not finite      a logit is NaN or infinite
    prefill wrong   logits of the first code, which follow the prefill: cosine below FIRST
    attention wrong the prefill is right but steps are not: the median cosine of a quarter of the
                    picture is below LATER, or the prompt's last position changes a step by less
                    than SEEN of the change on the CPU
    loop wrong      steps are right, but the painting loop drew a code that they cannot have drawn:
                    the CPU's margin is above twice the largest deviation of the step's scores
    rounding        codes differ, and none of the above applies
    equal           all codes are the CPU's

Cosines compare logits after the CPU's own codes. Each row is taken less its mean, because a constant
changes no draw. A wrong mask (position 0 only) leaves cosines of 0.5 to 0.7 in hidden states; rounding
to 16 bits leaves more than 0.999.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_check.steps import GUIDANCE_SCALE, TEMPERATURE, Codes, Logits
from janus_edge.divergence import DivergenceMeter
from janus_edge.noise import gumbel
from janus_edge.runtime.teacher_forcing import guided

FIRST, LATER, SEEN = 0.98, 0.95, 0.1

EQUAL, ROUNDING, LOOP = "equal", "rounding", "loop wrong"
ATTENTION, PREFILL, NOT_FINITE = "attention wrong", "prefill wrong", "not finite"

#: From good to bad: a check's verdict is the worst one of its pictures.
ORDER = (EQUAL, ROUNDING, LOOP, ATTENTION, PREFILL, NOT_FINITE)

#: Verdicts that let a check pass.
GOOD = (EQUAL, ROUNDING)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture compared with the CPU's.

    ``margin`` is the CPU's score of its own code less its score of the code that was drawn instead, at
    ``first_difference``. ``top_two`` is the difference of the two largest scores there. ``deviation`` is
    the largest error of a score. All three are None if no code differs. ``equal_forced`` counts the codes
    that steps draw right after the CPU's own codes.
    """

    verdict: str
    codes: int
    equal_codes: int
    equal_forced: int
    first_difference: int | None
    margin: float | None
    top_two: float | None
    deviation: float | None
    first_cosine: float
    worst_cosine: float
    kl_mean: float
    kl_max: float


def judge(
    seed: int, reference: tuple[Codes, Logits], steps: tuple[Codes, Logits], painted: Codes,
    seen: float,
) -> Picture:  # fmt: skip
    """Compare a picture.

    ``reference`` and ``steps`` are codes [T] and logits [T, 2, K] after the reference's codes.
    ``painted`` [T] is what the painting loop drew freely. ``seen`` is the influence of the prompt's last
    position on the engine over that on the CPU.
    """
    codes, expected = reference
    drawn, found = steps
    first = None if (painted == codes).all() else int(np.argmax(painted != codes))
    finite = bool(np.isfinite(found).all())
    cosines = _cosines(expected, found) if finite else np.zeros(len(codes))
    margin = top_two = deviation = None
    if first is not None and finite:
        scores, own = (_scores(logits[first], seed, first) for logits in (expected, found))
        ordered = np.sort(scores)
        margin = float(scores[codes[first]] - scores[painted[first]])
        top_two, deviation = float(ordered[-1] - ordered[-2]), float(np.abs(scores - own).max())
    meter = DivergenceMeter()
    meter.add(*(guided(x[:, 0], x[:, 1], GUIDANCE_SCALE) for x in (expected, found)),
              temperature=TEMPERATURE)  # fmt: skip
    divergence, worst = meter.result(), _worst(cosines[1:])
    return Picture(
        verdict(finite, float(cosines[0]), worst, seen, margin, deviation, first is None),
        len(codes), int((painted == codes).sum()), int((drawn == codes).sum()), first, margin,
        top_two, deviation, float(cosines[0]), worst, divergence.kl_mean, divergence.kl_max,
    )  # fmt: skip


def verdict(
    finite: bool, first: float, worst: float, seen: float, margin: float | None,
    deviation: float | None, equal: bool,
) -> str:  # fmt: skip
    """Apply the rule at the top of this file."""
    if not finite:
        return NOT_FINITE
    if first < FIRST:
        return PREFILL
    if worst < LATER or seen < SEEN:
        return ATTENTION
    if equal:
        return EQUAL
    assert margin is not None
    assert deviation is not None
    return LOOP if margin > 2 * deviation else ROUNDING


def _scores(logits: Logits, seed: int, position: int) -> NDArray[np.float64]:
    """Return the scores [K] of which the sampler takes the largest."""
    scores = guided(logits[0], logits[1], GUIDANCE_SCALE).astype(np.float64) / TEMPERATURE
    noise: NDArray[np.float64] = gumbel(seed, 0, position, logits.shape[-1]).astype(np.float64)
    return scores + noise


def _cosines(expected: Logits, found: Logits) -> NDArray[np.float64]:
    """Return the cosine [T] of each position's logits [T, 2, K], the smaller of the two rows."""
    a, b = (x.astype(np.float64) - x.mean(-1, keepdims=True) for x in (expected, found))
    norms: NDArray[Any] = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosines: NDArray[np.float64] = (a * b).sum(-1) / np.maximum(norms, 1e-30)
    return np.asarray(cosines.min(-1))


def _worst(cosines: NDArray[np.float64]) -> float:
    """Return the smallest median of the picture's quarters; 1 if there is only one code."""
    parts = [part for part in np.array_split(cosines, 4) if len(part)]
    return min((float(np.median(part)) for part in parts), default=1.0)
