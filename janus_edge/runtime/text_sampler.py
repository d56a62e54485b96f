"""The next text token from logits: greedy, or a draw from the nucleus of the distribution.

Temperature first, then the nucleus (Holtzman et al., "The curious case of neural text
degeneration", 2019), then Gumbel-max with the counter-based noise of ``noise.py``: the order of the
original's ``generate``, with draws that depend on (seed, row, position) only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from janus_edge.errors import BackendError, InputError
from janus_edge.noise import TEXT_STREAM, check_seed, gumbel_at

#: (logits [V] float32, position, row) -> token id.
TextSampler = Callable[[NDArray[np.float32], int, int], int]


def make_text_sampler(temperature: float, top_p: float, seed: int) -> TextSampler:
    """A sampler with its options bound: ``sampler(logits, position, row) -> token``.

    ``temperature`` 0 takes the most probable token (the lowest id of equals) and needs no noise.
    Otherwise the smallest set of most probable tokens whose probability reaches ``top_p`` is kept,
    at least one, lower ids first among equals, and one of them drawn in proportion. Raises
    InputError unless 0 <= temperature < inf, 0 < top_p <= 1 and 0 <= seed < 2**64; the sampler
    raises BackendError for logits whose maximum is not finite.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise InputError(f"the temperature must be finite and at least 0, found {temperature}")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p must be above 0 and at most 1, found {top_p}")
    check_seed(seed)

    def greedy(logits: NDArray[np.float32], _position: int, _row: int) -> int:
        return _most_probable(logits)

    def nucleus(logits: NDArray[np.float32], position: int, row: int) -> int:
        # Relative to the maximum and in float64, so that no temperature overflows to NaN
        scaled = logits.astype(np.float64) - float(logits[_most_probable(logits)])
        with np.errstate(over="ignore"):
            scaled /= temperature
        kept = _nucleus(scaled, top_p)
        noise = gumbel_at(seed, row, position, kept, TEXT_STREAM)
        return int(kept[np.argmax(scaled[kept] + noise)])

    return greedy if temperature == 0 else nucleus


def _most_probable(logits: NDArray[np.float32]) -> int:
    best = int(np.argmax(logits))
    if not np.isfinite(logits[best]):
        raise BackendError(
            f"the language model's logits are not finite (the largest is {logits[best]}), as when "
            f"float16 overflows; use a bundle in bfloat16 or float32"
        )
    return best


def _nucleus(scaled: NDArray[np.float64], top_p: float) -> NDArray[np.intp]:
    """Ids of the smallest set of most probable tokens with probability ``top_p``, ascending."""
    if top_p == 1:
        return np.arange(len(scaled))
    probabilities = np.exp(scaled)
    probabilities /= probabilities.sum()
    # All tokens below (1 - top_p) / V together have less than 1 - top_p: none of them is needed,
    # and the few that are left sort in a fraction of the time of a whole vocabulary
    able = np.flatnonzero(probabilities >= (1 - top_p) / len(scaled))
    order = able[np.argsort(-probabilities[able], kind="stable")]
    reached = np.cumsum(probabilities[order])
    count = int(np.searchsorted(reached, top_p)) + 1
    return np.sort(order[:count])
