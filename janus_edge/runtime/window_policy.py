"""How many codes a pass takes: fixed, or as many as running acceptance makes worth their cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Widths that are measured and chosen from.
WIDTHS = (1, 2, 4, 8, 16, 32)

#: What a pass' outcome still weighs after one more: about the last two hundred passes count.
_FADING = 0.995
#: Every guess of a pass is taken to be refuted as often as the guess before it, with the weight of so
#: many trials; the first one with this probability. With less weight an edge makes the window narrow,
#: which then learns nothing of wide ones: at costs of three recipes of the miniature a picture took 9 to
#: 27 % longer than with the best fixed width when the weight was 2, and 2 to 6 % with 50.
_WEIGHT, _REFUTED = 50.0, 0.15


class WindowPolicy(Protocol):
    """Chooses the width of the next pass; none is wider than ``widest``."""

    @property
    def widest(self) -> int:
        """An upper bound of :meth:`width`."""
        ...

    def width(self, pictures: int) -> int:
        """The width for a pass over so many pictures."""
        ...

    def note(self, gained: NDArray[np.int64], width: int) -> None:
        """Learn from a pass that gained so many codes [n] of n pictures that were not finished."""
        ...


class FixedWindow:
    """Always the same width."""

    def __init__(self, width: int) -> None:
        self.widest = width

    def width(self, pictures: int) -> int:
        """As given."""
        return self.widest

    def note(self, gained: NDArray[np.int64], width: int) -> None:
        """Nothing to learn."""


class BestWindow:
    """The width of least expected time per code.

    ``costs`` maps widths to the seconds of a pass over one picture (two rows). The k-th guess of a
    pass is tested where all before it came true; it is refuted with a probability of its own, known
    from running outcomes, so that passes that ended before it, or that were not so wide, say
    nothing against it (Kaplan and Meier's estimate of survival). Flat areas make later guesses
    the safer ones, which one probability for all would miss. A pass of width W gains the mean of
    one code and as many guesses as survive. P pictures cost what one picture costs at P times the
    width: the rows of a pass are one axis to all products with weights.
    """

    def __init__(self, costs: Mapping[int, float]) -> None:
        self._widths = np.array(sorted(costs), float)
        self._seconds = np.array([costs[int(w)] for w in self._widths])
        self._tested = np.zeros(self.widest - 1)
        self._refuted = np.zeros(self.widest - 1)

    @property
    def widest(self) -> int:
        """The widest that was measured."""
        return int(self._widths[-1])

    @property
    def survival(self) -> NDArray[np.float64]:
        """The estimated probabilities [W] that 0, 1, .. W-1 guesses of a pass all come true."""
        probabilities = [1.0]
        refuted = _REFUTED
        for trials, failures in zip(self._tested, self._refuted, strict=True):
            refuted = (failures + _WEIGHT * refuted) / (trials + _WEIGHT)
            probabilities.append(probabilities[-1] * (1 - refuted))
        return np.array(probabilities)

    def width(self, pictures: int) -> int:
        """The width among those measured of least expected time per code."""
        gains = np.cumsum(self.survival)[self._widths.astype(int) - 1]
        costs = [self.seconds(pictures * w) for w in self._widths]
        return int(self._widths[np.argmin(np.array(costs) / gains)])

    def seconds(self, width: float) -> float:
        """A pass' time for a single picture: between measured widths and beyond them on a line."""
        widths, seconds = self._widths, self._seconds
        if width > widths[-1] and len(widths) > 1:
            slope = (seconds[-1] - seconds[-2]) / (widths[-1] - widths[-2])
            return float(seconds[-1] + max(slope, 0.0) * (width - widths[-1]))
        return float(np.interp(width, widths, seconds))

    def note(self, gained: NDArray[np.int64], width: int) -> None:
        """Count the guesses that came true, and those that did not: one unless all did.

        What was known fades, so that guesses of which nothing was heard for long are tried again.
        """
        self._tested *= _FADING
        self._refuted *= _FADING
        for codes in gained:
            self._tested[: min(int(codes), width - 1)] += 1
            if codes < width:
                self._refuted[codes - 1] += 1
