"""bfloat16 by hand: rounded to the nearest, and exact on the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_edge.runtime.tensorrt.formats import FORMATS, format_of

BF16 = FORMATS["bfloat16"]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_nearest(value: float) -> None:
    """No neighbour is nearer, and of two equally near it is the even one."""
    stored = BF16.encode(np.array([value], np.float32))
    found = BF16.decode(stored).astype(np.float64)[0]
    bits = int(stored[0])
    for other in (bits - 1, bits + 1):
        if bits & 0x7FFF in (0, 0x7F80) or other & 0x7F80 == 0x7F80:
            continue  # zero and infinity have no neighbour on that side
        neighbour = BF16.decode(np.array([other], np.uint16)).astype(np.float64)[0]
        assert abs(found - value) <= abs(neighbour - value)
        if abs(found - value) == abs(neighbour - value):
            assert bits % 2 == 0


@pytest.mark.parametrize(
    ("value", "bits"),
    [(1.0, 0x3F80), (-2.0, 0xC000), (np.inf, 0x7F80), (-np.inf, 0xFF80), (0.0, 0), (-0.0, 0x8000),
     (3.4e38, 0x7F80), (1.00390625, 0x3F80), (1.01171875, 0x3F82)],
)  # fmt: skip
def test_values(value: float, bits: int) -> None:
    """Infinities, signed zeros, what rounds up to infinity, and ties to even."""
    assert BF16.encode(np.array([value], np.float32)).tolist() == [bits]


def test_not_a_number() -> None:
    """Whatever its bits: some would carry to infinity, some to zero."""
    nans = np.array([0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(BF16.decode(BF16.encode(nans))).all()


@given(st.integers(0, 2**16 - 1))
def test_back_and_forth(bits: int) -> None:
    """What is a bfloat16 already comes back bit by bit."""
    stored = np.array([bits], np.uint16)
    if not np.isnan(BF16.decode(stored)[0]):
        assert BF16.encode(BF16.decode(stored)).tolist() == [bits]


def test_others_are_left_as_they_are() -> None:
    """Without a copy where the array is contiguous."""
    for name in ("float32", "float16", "int64"):
        array = np.arange(6, dtype=name)
        assert FORMATS[name].encode(array) is array
        assert FORMATS[name].decode(array) is array
    gaps = np.arange(6, dtype=np.float32)[::2]
    assert FORMATS["float32"].encode(gaps).tolist() == [0, 2, 4]
    assert format_of("float", "float16").member == "HALF"
    assert format_of("int64", "float16").member == "INT64"
