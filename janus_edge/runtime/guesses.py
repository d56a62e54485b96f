"""Guesses for image codes that are not known yet; they decide how many passes a picture takes.

A guess costs next to nothing beside a pass and cannot harm: a wrong one is refuted by the pass. All
take the noise of the position that is guessed, where they use any, so that a guess whose distribution
is close to the model's finds the model's own choice (Gumbel coupling).

Behind a refuted guess a pass has made choices, which are guesses, too (Jacobi iteration). They were
made after a wrong code, though: on the miniature at guidance 5 only 58 of 100 that were tested came
true, of first guesses 95. Where no guess is any good they are better than nothing, and to change
from one to the other helps where either fails. :class:`Source` decides.
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


#: Codes of a pass that a source is presumed to gain as long as nobody has tried it: so many that the
#: other one is soon tried where passes gain little.
_PRESUMED = 4.0
#: How fast the source in use is known by its passes, and the other one is forgotten. On the miniature at
#: guidance 5 and 16 codes a pass, 16 pictures took 45.7 passes in the mean with guesses that were always
#: made anew, 72.0 with choices, 45.8 with 2, 0.1, 0.02 for these three, 37.1 with 4, 0.3, 0.05.
_LEARNING, _FORGETTING = 0.3, 0.05


class Source:
    """Where the guesses behind a refuted one come from, for one picture.

    ``anew`` guesses them again from the codes that are known by now; else the choices of the pass
    are taken. Either is worth the codes that its passes gained of late. The one that is not in use
    drifts back to what it was presumed to be, so that it gets another chance where the other fails.
    """

    def __init__(self) -> None:
        self.anew = True
        self._worth = {True: _PRESUMED, False: _PRESUMED}

    def note(self, gained: int) -> None:
        """Learn from a pass that gained so many codes, and choose for the next."""
        used, other = self.anew, not self.anew
        self._worth[used] += _LEARNING * (gained - self._worth[used])
        self._worth[other] += _FORGETTING * (_PRESUMED - self._worth[other])
        if self._worth[other] > self._worth[used]:
            self.anew = other


class FixedSource(Source):
    """Always the same one."""

    def __init__(self, anew: bool) -> None:
        super().__init__()
        self.anew = anew

    def note(self, gained: int) -> None:
        """Nothing to learn."""
