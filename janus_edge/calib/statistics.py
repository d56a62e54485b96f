"""What a node's input was like over the calibration data, in bounded memory.

The memory of one input with C channels: 16 kB for the histogram, 20 C bytes for its channels,
4 R C for R sample rows, and with ``gram`` 4 C^2 (127 MB at the 1B's 5632: GPTQ then goes through
the model a few layers at a time) and 1 kB C for rows that wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_edge.calib.histogram import Histogram
from janus_edge.errors import InputError

#: Values worked on at once.
_PIECE = 1 << 20

#: Rows that wait for the gram: a decoding step brings two, and each product costs a pass over C^2.
_WAITING = 256


class InputStatistics:
    """Histogram of |x|, figures per channel, sample rows and the gram matrix of one input.

    A row is what lies along ``axis``: the last axis [..., C] of a linear layer's input, axis 1 of a
    convolution's [N, C, H, W], where each pixel is a row. Over all rows:

        channel_maximum [C] float32   max |x_j|
        channel_sum     [C] float64   sum |x_j|
        channel_squares [C] float64   sum x_j^2
        gram            [C, C] float32, or None: X^T X
        row_keys [r] float64, sample_rows [r, C] float32: r = min(row_limit, count) of the rows

    The sample is uniform and without replacement: every row draws a key from PCG64(seed) and the
    smallest keys stay (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006,
    for equal weights), so that samples can be merged. Recorders that will be merged need seeds of
    their own; one seed for the inputs of one recorder lets them keep the same rows.
    """

    def __init__(
        self,
        channels: int,
        *,
        axis: int = -1,
        row_limit: int = 256,
        seed: int = 0,
        gram: bool = False,
    ) -> None:
        """Raises InputError for an axis other than -1 and 1, or numbers that are not positive."""
        if channels < 1 or row_limit < 1 or seed < 0 or axis not in (-1, 1):
            raise InputError(
                "statistics need channels and row_limit above 0, a seed from 0 and axis -1 or 1, "
                f"found {channels}, {row_limit}, {seed} and {axis}"
            )
        self.channels, self.axis, self.row_limit = channels, axis, row_limit
        self.seeds: tuple[int, ...] = (seed,)
        self.count = 0
        self.histogram = Histogram()
        self.channel_maximum = np.zeros(channels, np.float32)
        self.channel_sum = np.zeros(channels, np.float64)
        self.channel_squares = np.zeros(channels, np.float64)
        self._gram = np.zeros((channels, channels), np.float32) if gram else None
        self._waiting: list[NDArray[np.float32]] = []
        self.row_keys = np.empty(0, np.float64)
        self.sample_rows = np.empty((0, channels), np.float32)
        self._bits = np.random.PCG64(seed)

    @property
    def gram(self) -> NDArray[np.float32] | None:
        """X^T X over all rows so far."""
        self._add_waiting()
        return self._gram

    @property
    def channel_mean(self) -> NDArray[np.float32]:
        """mean |x_j| [C] float32; zeros before anything was added."""
        return (self.channel_sum / max(self.count, 1)).astype(np.float32)

    @property
    def channel_mean_square(self) -> NDArray[np.float32]:
        """mean x_j^2 [C] float32: the ``importance`` of a weight's rows."""
        return (self.channel_squares / max(self.count, 1)).astype(np.float32)

    def add(self, values: NDArray[Any]) -> None:
        """Record an input of any float type with C along ``axis``.

        Raises InputError, and records nothing, for another shape or type, or values that are not
        finite.
        """
        if values.ndim < 2 or values.shape[self.axis] != self.channels:
            raise InputError(
                f"an input {list(values.shape)} does not have {self.channels} channels on axis "
                f"{self.axis}; record each node into statistics of its own"
            )
        self.histogram.add(values)
        rows = np.moveaxis(values, self.axis, -1)
        rows = rows.reshape(-1, self.channels)
        step = max(1, _PIECE // self.channels)
        for start in range(0, len(rows), step):
            self._add_rows(rows[start : start + step].astype(np.float32, copy=False))

    def merge(self, other: InputStatistics) -> None:
        """Record what ``other`` recorded, which stays as it is.

        Raises InputError unless both have the same channels, axis, row limit and gram or none, and
        no seed in common: rows with equal keys would make the sample less than random.
        """
        mine = (self.channels, self.axis, self.row_limit, self._gram is None)
        if mine != (other.channels, other.axis, other.row_limit, other._gram is None):
            raise InputError("only statistics of the same channels and options can be merged")
        if set(self.seeds) & set(other.seeds):
            raise InputError(
                f"statistics of seeds {self.seeds} and {other.seeds} cannot be merged; "
                "record each part with a seed of its own"
            )
        self.histogram.merge(other.histogram)
        np.maximum(self.channel_maximum, other.channel_maximum, out=self.channel_maximum)
        self.channel_sum += other.channel_sum
        self.channel_squares += other.channel_squares
        if self._gram is not None and other.gram is not None:
            self._gram += other.gram
        self._keep(other.row_keys, other.sample_rows)
        self.seeds += other.seeds
        self._advance(other.count)

    def restore(self, seeds: tuple[int, ...], count: int, gram: NDArray[np.float32] | None) -> None:
        """Set what a stored recorder had besides its public arrays, so that it can go on."""
        self.seeds, self.count, self._gram = seeds, 0, gram
        self._bits = np.random.PCG64(seeds[0])
        self._advance(count)

    def _advance(self, rows: int) -> None:
        """Pass over the keys of ``rows`` rows: one word of the generator each."""
        self.count += rows
        self._bits.advance(rows)

    def _add_rows(self, rows: NDArray[np.float32]) -> None:
        magnitudes = np.abs(rows)
        np.maximum(self.channel_maximum, magnitudes.max(0), out=self.channel_maximum)
        self.channel_sum += magnitudes.sum(0, dtype=np.float64)
        self.channel_squares += np.einsum("nc,nc->c", rows, rows, dtype=np.float64)
        if self._gram is not None:
            self._waiting.append(rows.copy())  # the caller may write its next step into them
            if sum(map(len, self._waiting)) >= _WAITING:
                self._add_waiting()
        self._keep(np.random.Generator(self._bits).random(len(rows)), rows)
        self.count += len(rows)

    def _add_waiting(self) -> None:
        if self._gram is not None and self._waiting:
            rows = np.concatenate(self._waiting)
            self._waiting = []
            self._gram += rows.T @ rows

    def _keep(self, keys: NDArray[np.float64], rows: NDArray[np.float32]) -> None:
        """Keep those of the sample and ``rows`` that have the smallest keys, in their order."""
        if len(self.row_keys) == self.row_limit:
            low = keys < self.row_keys[-1]
            keys, rows = keys[low], rows[low]
        if not len(keys):
            return
        keys = np.concatenate([self.row_keys, keys])
        order = np.argsort(keys)[: self.row_limit]
        self.row_keys = keys[order]
        self.sample_rows = np.concatenate([self.sample_rows, rows])[order]
