"""Gumbel noise that depends on (seed, picture, position) and on nothing else.

``argmax(logits / temperature + noise)`` draws from ``softmax(logits / temperature)`` when the
noise is standard Gumbel (the Gumbel-max trick: Gumbel, 1954; Maddison, Tarlow and Minka, 2014).
Noise from a counter-based generator needs no state: a picture is the same whatever the batch, the
backend or the pictures beside it. The generator is Philox 4x64 (Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3", 2011) in numpy's implementation, whose raw stream
NEP 19 promises to keep.

    key      [seed, picture]
    counter  [block, 0, position, stream]   numpy counts the blocks of four words up from 0
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

from janus_edge.errors import InputError

#: The streams of one (seed, picture, position): image codes and text tokens never share noise.
IMAGE_STREAM = 0
TEXT_STREAM = 1

_WORDS = 2**64


def gumbel(
    seed: int, picture: int, position: int, size: int, stream: int = IMAGE_STREAM
) -> NDArray[np.float32]:
    """Standard Gumbel noise [size] float32, within -3.2 and 23, for one picture at one position.

    A longer row starts with the shorter one. Raises InputError if a number is not in [0, 2**64).
    """
    bits = random_bits(seed, picture, position, size, stream)
    return gumbel_of_bits(bits).astype(np.float32)


def gumbel_at(
    seed: int,
    picture: int,
    position: int,
    indices: NDArray[np.integer],
    stream: int = IMAGE_STREAM,
) -> NDArray[np.float32]:
    """``gumbel(...)[indices]`` for a row that reaches the last of them: logarithms only of these.

    ``indices`` [n] may be in any order. For the few likely tokens of a text vocabulary
    this takes a tenth of the time of the whole row.
    """
    size = int(indices.max()) + 1 if len(indices) else 0
    bits = random_bits(seed, picture, position, size, stream)[indices]
    return gumbel_of_bits(bits).astype(np.float32)


def gumbel_rows(
    seeds: Sequence[int],
    pictures: Sequence[int],
    position: int,
    size: int,
    *,
    stream: int = IMAGE_STREAM,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The noise of P pictures at one position, [P, size] float32; row p has seeds[p], pictures[p].

    Written into ``out`` if given (same shape, float32), which stays the caller's. Raises InputError
    as :func:`gumbel` does, and if the lengths or the shape of ``out`` disagree.
    """
    draws = Draws(seeds, pictures, size, stream)
    shape = (len(pictures), size)
    rows = np.empty(shape, np.float32) if out is None else out
    if rows.shape != shape or rows.dtype != np.float32:
        raise InputError(f"noise needs out float32 {shape}, found {rows.dtype} {rows.shape}")
    rows[...] = gumbel_of_bits(draws.at(position))
    return rows


def check_seed(seed: int) -> int:
    """``seed`` itself; raises InputError unless it is an integer in [0, 2**64)."""
    return _word(seed, "seed")


def _word(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(f"the {name} must be an integer, found {value!r}")
    if not 0 <= value < _WORDS:
        raise InputError(f"the {name} must be from 0 to 2**64 - 1, found {value}")
    return int(value)


class _Generator(threading.local):
    """A generator per thread, set to one place after the other: making one takes longer than a row."""

    def __init__(self) -> None:
        self.philox = Philox(key=0)
        self.new = self.philox.state  # nothing is buffered in it


_GENERATOR = _Generator()


class Draws:
    """The uniform draws behind the noise of P pictures, position by position.

    Raises InputError as :func:`gumbel_rows`. For one thread at a time.
    """

    def __init__(
        self, seeds: Sequence[int], pictures: Sequence[int], size: int, stream: int = IMAGE_STREAM
    ) -> None:
        if len(seeds) != len(pictures):
            raise InputError(f"{len(seeds)} seeds for {len(pictures)} pictures; give one for each")
        self._counter = np.array([0, 0, 0, _word(stream, "stream")], np.uint64)
        keys = [
            (_word(s, "seed"), _word(p, "picture")) for s, p in zip(seeds, pictures, strict=True)
        ]
        self._places: list[Any] = [
            {**_GENERATOR.new, "state": {"counter": self._counter, "key": np.array(key, np.uint64)}}
            for key in keys
        ]
        self._words = np.empty((len(keys), (size + 1) // 2), np.dtype("<u8"))
        # Low half first on every machine
        self._bits = self._words.view("<u4")[:, :size]

    def at(self, position: int) -> NDArray[np.uint32]:
        """Those at ``position``, [P, size] uint32; overwritten by the next call."""
        # The position lies above 128 bits of block counter: no row can run into the next one's blocks
        self._counter[2], philox = _word(position, "position"), _GENERATOR.philox
        for words, place in zip(self._words, self._places, strict=True):
            philox.state = place
            words[:] = philox.random_raw(len(words))
        return self._bits


def random_bits(
    seed: int, picture: int, position: int, size: int, stream: int
) -> NDArray[np.uint32]:
    """The uniform draws [size] behind the noise of one row; raises InputError as :func:`gumbel`."""
    bits: NDArray[np.uint32] = Draws([seed], [picture], size, stream).at(position)[0]
    return bits


def gumbel_of_bits(bits: NDArray[np.uint32]) -> NDArray[np.float64]:
    """The noise of uniform draws; it grows with them."""
    # The half keeps both ends open: log never meets 0, and no noise is infinite
    noise: NDArray[np.float64] = np.add(bits, 0.5, dtype=np.float64)
    noise *= 2.0**-32
    for _ in range(2):
        np.log(noise, out=noise)
        np.negative(noise, out=noise)
    return noise
