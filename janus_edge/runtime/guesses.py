"""First guesses for image codes that no pass has looked at yet; they decide how many passes it takes.

A guess costs next to nothing beside a pass and cannot harm: a wrong one is refuted by the pass. All
take the noise of the position that is guessed, where they use any, so that a guess whose distribution
is close to the model's finds the model's own choice (Gumbel coupling).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frontier:
    """What is known when a position is guessed.

    ``codes`` [t] are the picture's codes and guesses before position t, at least one; ``noise`` [K]
    float32 is the noise of t (zeros at temperature 0); ``scores`` [K] float32 are the guided
    logits over the temperature at the last position that was computed; ``columns`` is the
    number of codes in a row of the picture.
    """

    codes: NDArray[np.int64]
    noise: NDArray[np.float32]
    scores: NDArray[np.float32]
    columns: int


#: Guesses the code at the frontier.
Guess = Callable[[Frontier], int]


def left(at: Frontier) -> int:
    """The code before."""
    return int(at.codes[-1])


def above(at: Frontier) -> int:
    """The code above; in the first row the one before."""
    return int(at.codes[-at.columns if len(at.codes) >= at.columns else -1])


def continued(at: Frontier) -> int:
    """The code before, unless the row above changed at this place: then the code above.

    Flat areas go on and edges go down, as in predictors of lossless picture coding.
    """
    if len(at.codes) <= at.columns:
        return int(at.codes[-1])
    here, before = at.codes[-at.columns], at.codes[-at.columns - 1]
    return int(at.codes[-1] if here == before else here)


def resampled(at: Frontier) -> int:
    """What the last distribution draws with the position's own noise."""
    return int(np.argmax(at.scores + at.noise))


GUESSES: dict[str, Guess] = {
    "left": left,
    "above": above,
    "continued": continued,
    "resampled": resampled,
}
