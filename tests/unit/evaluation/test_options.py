"""Settings that cannot be used are refused when they are made."""

from __future__ import annotations

from typing import Any

import pytest

from janus_edge.errors import InputError
from janus_edge.evaluation.options import SEEDS, Options


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": 0}, "prompts must be from 1 to 1000000, found 0"),
        ({"questions": -3}, "questions must be from 1"),
        ({"scenes": SEEDS + 1}, "scenes must be from 1"),
        ({"seed": -1}, "seed of an evaluation must be from 0 to 2\\*\\*32 - 1, found -1"),
        ({"seed": 2**32}, "seed of an evaluation"),
        ({"guidance_scales": ()}, "at least one guidance scale, .* found none"),
        ({"guidance_scales": (5.0, 1.0, 5.0)}, "each once; found 5, 1, 5"),
        ({"guidance_scales": (float("nan"),)}, "within 1000, found nan"),
        ({"guidance_scales": (-1e4,)}, "within 1000, found -10000"),
        ({"parallel": 0}, "parallel must be 'off', 'auto' or a number of codes from 1"),
        ({"parts": ()}, "parts must be of painting, understanding, reconstruction"),
        ({"parts": ("painting", "poetry")}, "found painting, poetry"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**settings)


def test_the_largest_seed_fits_the_noise() -> None:
    """The last picture of the last seed has a seed that 64 bits hold."""
    assert Options(seed=2**32 - 1).seed * SEEDS + SEEDS <= 2**64
