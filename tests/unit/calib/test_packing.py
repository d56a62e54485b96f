"""Two 4-bit integers to a byte, as ONNX packs them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper

from janus_edge.calib.packing import pack_int4, unpack_int4
from janus_edge.errors import InputError

integers = arrays(np.int8, array_shapes(max_dims=3), elements=st.integers(-8, 7))


@settings(deadline=None, max_examples=40)
@given(integers)
def test_as_onnx_packs(values: NDArray[np.int8]) -> None:
    """The bytes are make_tensor's, ONNX reads them, and so do we."""
    packed = pack_int4(values)
    theirs = helper.make_tensor("w", TensorProto.INT4, values.shape, values.ravel().tolist())
    assert bytes(theirs.int32_data) == packed.tobytes()
    ours = helper.make_tensor("w", TensorProto.INT4, values.shape, packed.tobytes(), raw=True)
    read = onnx.numpy_helper.to_array(ours).astype(np.int8)
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(unpack_int4(packed, values.shape), values)


def test_low_nibble_first() -> None:
    assert pack_int4(np.int8([[1, -2], [7, -8], [3, 0]])[:, :]).tolist() == [0xE1, 0x87, 0x03]
    assert pack_int4(np.int8([-1])).tolist() == [0x0F]
    assert pack_int4(np.empty(0, np.int8)).tolist() == []


def test_order_is_c_whatever_the_layout() -> None:
    values = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    assert pack_int4(values.T).tolist() == pack_int4(values.T.copy()).tolist()


@pytest.mark.parametrize("values", [np.int8([8]), np.int8([-9]), np.int16([1])])
def test_what_does_not_fit(values: NDArray[np.int8]) -> None:
    with pytest.raises(InputError, match="from -8 to 7"):
        pack_int4(values)


@pytest.mark.parametrize(
    "packed", [np.zeros(1, np.uint8), np.zeros(3, np.uint8), np.zeros(2, np.int8)]
)
def test_other_bytes(packed: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"int4 \[3\] takes 2 bytes"):
        unpack_int4(packed, [3])
