"""How many codes a pass takes: fixed, or as many as running acceptance makes worth their cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Widths that are measured and chosen from.
WIDTHS = (1, 2, 4, 8, 16, 32)

#: What a pass' outcome still weighs after one more: about the last thirty passes count.
_FADING = 0.97
#: Guesses that came true, of guesses tried, before any was: as likely right as wrong.
_FIRST = (1.0, 2.0)


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

    ``costs`` maps widths to the seconds of a pass over one picture (two rows). A guess is taken to
    come true with one probability a, the same at every place, estimated from running outcomes; a
    pass of width W then gains ``1 + a + .. + a^(W-1)`` codes. P pictures cost what one picture
    costs at P times the width: the rows of a pass are one axis to all products with weights.
    """

    def __init__(self, costs: Mapping[int, float]) -> None:
        self._widths = np.array(sorted(costs), float)
        self._seconds = np.array([costs[int(w)] for w in self._widths])
        self._true, self._tried = _FIRST

    @property
    def widest(self) -> int:
        """The widest that was measured."""
        return int(self._widths[-1])

    @property
    def acceptance(self) -> float:
        """The estimate a, from 0 to 1."""
        return self._true / self._tried

    def width(self, pictures: int) -> int:
        """The width among those measured of least expected time per code."""
        gains = np.array([(self.acceptance ** np.arange(w)).sum() for w in self._widths])
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
        """Count the guesses that came true, and those that did not: one unless all did."""
        if width > 1:
            true = float((gained - 1).sum())
            tried = true + float((gained < width).sum())
        else:  # no guess was tried: what was known ages towards what is known at first
            true, tried = (1 - _FADING) * _FIRST[0], (1 - _FADING) * _FIRST[1]
        self._true, self._tried = _FADING * self._true + true, _FADING * self._tried + tried
