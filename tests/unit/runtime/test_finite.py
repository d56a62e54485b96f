"""The largest magnitude, computed from the bits, is numpy's for every type that stores logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from janus_edge.errors import BackendError
from janus_edge.runtime.finite import largest_magnitude
from janus_edge.runtime.image_decoding import require_finite
from janus_edge.runtime.tensorrt.formats import FORMATS

KINDS = ("float16", "float32", "bfloat16")
LARGEST = {
    "float16": float(np.finfo(np.float16).max), "float32": float(np.finfo(np.float32).max),
    "bfloat16": float(np.array(0x7F7F0000, np.uint32).view(np.float32)),
}  # fmt: skip


def stored(kind: str, values: Any) -> np.ndarray:
    """Return values as a plan stores them."""
    form = FORMATS[kind]
    return form.encode(np.array(values, form.host))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "values",
    [
        [[1.0, -2.5], [2.0, 0.0]], [[-0.5, -0.25]], [[3.0, 4.0]], [[0.0]], [[-0.0, -0.0]],
        [[-0.0, 0.0]], [[6e-8, -6e-8]], [[-1.0, 1.0]],
    ],
)  # fmt: skip
def test_as_numpy_finds_it(kind: str, values: Any) -> None:
    """It agrees for both signs, both zeros, subnormals, all negative and all positive values."""
    given = stored(kind, values)
    expected = float(np.abs(FORMATS[kind].decode(given)).max())
    found = largest_magnitude(given)
    assert found == expected
    assert math.copysign(1, found) == 1
    assert require_finite(given, 1) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_finite(kind: str) -> None:
    """The largest number of a type is finite, whatever its sign."""
    for sign in (1, -1):
        given = stored(kind, [[0.0, sign * LARGEST[kind]]])
        assert require_finite(given, 1) == LARGEST[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, math.copysign(math.nan, -1)])
@pytest.mark.parametrize("beside", [1.0, -3.0, -math.inf])
def test_what_is_not_finite(kind: str, value: float, beside: float) -> None:
    """Infinities and NaN of either sign are found in any place, and the error names the step."""
    for place in (0, 1, 4):
        values = np.full((1, 5), beside, np.float32)
        values[0, place] = value
        given = stored(kind, values)
        assert not math.isfinite(largest_magnitude(given))
        with pytest.raises(BackendError, match=r"image logits at step 7 are not finite.*fp32"):
            require_finite(given, 7)


def test_windows_have_no_step() -> None:
    """Logits of a window belong to several steps, so the error does not name a step."""
    with pytest.raises(BackendError, match="the image logits are not finite"):
        require_finite(np.array([np.nan], np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_finite(kind: str) -> None:
    """An empty array passes: it has no value that is not finite."""
    assert require_finite(stored(kind, np.zeros((0, 4))), 1) == 0


def test_other_types_are_refused() -> None:
    """Bits of another type are refused, because they would be misread."""
    with pytest.raises(TypeError, match="float64"):
        largest_magnitude(np.zeros(3))
