"""Gumbel noise of which only what can decide is computed, for the same draw.

``argmax(scores + noise)`` needs the noise of few entries. The noise of an entry grows with its 32
random bits, so the leading bits bound it from both sides; an entry whose upper bound stays below
another's lower bound has lost, and its logarithms need not be taken. Entries that are left get
``noise.py``'s numbers, the others their lower bound, with which they lose as well: the argmax is the
same, bit by bit, as that of the whole noise. (The idea of pruning Gumbel-max by bounds is that of
A* sampling: Maddison, Tarlow and Minka, 2014.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.noise import Draws, gumbel_of_bits

#: Leading bits that bound an entry's noise. The upper bounds of the first and last interval are wide,
#: and 1 entry of 4096 falls into each.
_LEADING = 12
_SHIFT = 32 - _LEADING

#: Below so many entries all logarithms take less time than choosing does.
_FEW = 4096

#: Bits are drawn for several positions at once, up to so many entries: code and tables that the
#: graphs have driven from the processor's caches are fetched once for all of them.
_AHEAD, _POSITIONS = 1 << 16, 16


def _bounds() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The least and the greatest noise of each interval of bits, one float32 further out."""
    first = np.arange(1 << _LEADING, dtype=np.uint32) << np.uint32(_SHIFT)
    last = first | np.uint32((1 << _SHIFT) - 1)
    low, high = (gumbel_of_bits(bits).astype(np.float32) for bits in (first, last))
    return (
        np.nextafter(low, np.float32(-np.inf), dtype=np.float32),
        np.nextafter(high, np.float32(np.inf), dtype=np.float32),
    )


_LOW, _HIGH = _bounds()


class DecidingNoise:
    """The noise of P pictures, row by row, for scores [P, K] that are known when it is drawn.

    Row p is that of ``gumbel_rows`` for ``seeds[p]`` and ``pictures[p]``. Buffers are made once;
    ``noise`` [P, K] float32 is overwritten by the next :meth:`draw`.
    """

    def __init__(self, seeds: Sequence[int], pictures: Sequence[int], size: int) -> None:
        shape = (len(pictures), size)
        #: Whether choosing pays; else :meth:`draw_all` is as good.
        self.chooses = len(pictures) * size > _FEW
        self._draws = Draws(seeds, pictures, size)
        ahead = min(max(_AHEAD // max(len(pictures) * size, 1), 1), _POSITIONS)
        self._bits = np.zeros((ahead, *shape), np.uint32)
        self._whole = np.zeros((0 if self.chooses else ahead, *shape), np.float32)
        self._drawn = range(0)
        self.noise = np.zeros(shape, np.float32)
        self._interval = np.zeros(shape, np.intp)
        self._total = np.zeros(shape, np.float32)

    def draw_all(self, position: int) -> None:
        """Fill ``noise`` with that of every entry."""
        place = self._place(position)
        if self.chooses:
            self.noise[...] = gumbel_of_bits(self._bits[place])
        else:
            self.noise[...] = self._whole[place]

    def draw(self, position: int, scores: NDArray[np.float32], error: float) -> int:
        """Fill ``noise`` for ``position``; returns how many entries got their own.

        ``scores`` [P, K] float32 are finite and within ``error`` of those that will be added to the
        noise, sums included.
        """
        bits = self._bits[self._place(position)]
        np.right_shift(bits, _SHIFT, out=self._interval, casting="unsafe")
        np.take(_LOW, self._interval, out=self.noise, mode="clip")
        np.add(scores, self.noise, out=self._total)
        best = self._total.max(1, keepdims=True) - np.float32(2 * error)
        np.take(_HIGH, self._interval, out=self._total, mode="clip")
        self._total += scores
        places = np.flatnonzero(self._total >= best)
        self.noise.reshape(-1)[places] = gumbel_of_bits(bits.reshape(-1)[places])
        return len(places)

    def _place(self, position: int) -> int:
        """Where the draws of ``position`` are, with those of the positions behind it."""
        if position not in self._drawn:
            self._drawn = range(position, min(position + len(self._bits), 1 << 64))
            for place, ahead in enumerate(self._drawn):
                self._bits[place] = self._draws.at(ahead)
            if not self.chooses:
                self._whole[...] = gumbel_of_bits(self._bits)
        return position - self._drawn.start


class GuidedScores:
    """Guided logits over the temperature, as the graph `guided_sampler` adds noise to, on the host.

    ``scores`` [P, K] float32 is overwritten by the next :meth:`of`.
    """

    #: Rounding of the four operations on either side, and of the sum with the noise.
    _ROUNDINGS = 16

    def __init__(self, pictures: int, size: int, guidance_scale: float, temperature: float) -> None:
        self._scale, self._temperature = np.float32(guidance_scale), np.float32(temperature)
        self.scores = np.zeros((pictures, size), np.float32)

    def of(self, logits: NDArray[Any], largest: float) -> float:
        """Fill ``scores`` from logits [2P, K], none larger than ``largest``.

        Returns how far the scores, or their sums with noise, may be from the graph's.
        """
        pictures, scores = len(self.scores), self.scores
        cond, uncond = logits[:pictures], logits[pictures:]
        np.subtract(cond, uncond, out=scores, dtype=np.float32)
        scores *= self._scale
        scores += uncond
        scores /= self._temperature
        size = largest * (1 + 2 * abs(float(self._scale))) / float(self._temperature) + 32
        return self._ROUNDINGS * float(np.finfo(np.float32).eps) * size
