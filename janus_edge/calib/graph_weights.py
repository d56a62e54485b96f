"""A graph's initializers, read and written one at a time beside the graph's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from janus_edge.calib.number_formats import E2M1, E4M3
from janus_edge.calib.packing import pack_e2m1, pack_int4
from janus_edge.calib.quantized_weight import QuantizedWeight
from janus_edge.errors import BundleError

#: Smaller values stay in the graph's own file, as the exporter has it.
_EXTERNAL_BYTES = 1024
#: Offsets are multiples of this, so that a mapped weight is aligned for any vector instruction.
_ALIGNMENT = 64

_FLOATS: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype("<f4"),
    TensorProto.FLOAT16: np.dtype("<f2"),
    TensorProto.BFLOAT16: np.dtype("<u2"),
}

#: ONNX type and packing of quantised values, by their dtype and bits.
_STORED: dict[tuple[np.dtype[Any], int], tuple[int, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    (np.dtype(np.int8), 8): (TensorProto.INT8, np.asarray),
    (np.dtype(np.int8), 4): (TensorProto.INT4, pack_int4),
    (E4M3, 8): (TensorProto.FLOAT8E4M3FN, np.asarray),
    (E2M1, 4): (TensorProto.FLOAT4E2M1, pack_e2m1),
}


def is_float(tensor: TensorProto) -> bool:
    """Whether an initializer is float32, float16 or bfloat16."""
    return tensor.data_type in _FLOATS


def read_bytes(tensor: TensorProto, folder: Path) -> bytes:
    """The little-endian bytes of an initializer; raises BundleError where they are missing."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return bytes(tensor.raw_data) or onnx.numpy_helper.to_array(tensor).tobytes()
    info = {entry.key: entry.value for entry in tensor.external_data}
    path = folder / info["location"]
    length = int(info["length"])
    with open(path, "rb") as file:
        file.seek(int(info.get("offset", 0)))
        data = file.read(length)
    if len(data) != length:
        raise BundleError(f"{path} ends inside '{tensor.name}'; export the bundle again")
    return data


def read_floats(tensor: TensorProto, folder: Path) -> NDArray[np.float32]:
    """A float initializer in float32."""
    dtype, data = _FLOATS[tensor.data_type], read_bytes(tensor, folder)
    stored = np.frombuffer(data, dtype).reshape(tuple(tensor.dims))
    if tensor.data_type == TensorProto.BFLOAT16:
        stored = (stored.astype(np.uint32) << 16).view(np.float32)
    floats: NDArray[np.float32] = stored.astype(np.float32)
    return floats


def as_stored(values: NDArray[np.float32], data_type: int) -> NDArray[Any]:
    """float32 values as a float type stores them, rounded to nearest even."""
    if data_type == TensorProto.BFLOAT16:
        bits = values.view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return np.asarray(rounded, "<u2")
    return np.asarray(values, _FLOATS[data_type])


class WeightWriter:
    """Appends initializers' values to ``path``; small ones go into their TensorProto.

    A context manager. ``written`` tells afterwards whether the file holds anything; an empty one is
    removed.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.written = path, False

    def __enter__(self) -> WeightWriter:
        self._file: BinaryIO = open(self.path, "wb")  # closed by __exit__
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.written = self._file.tell() > 0
        self._file.close()
        if not self.written:
            self.path.unlink()

    def tensor(self, name: str, data_type: int, shape: tuple[int, ...], data: bytes) -> TensorProto:
        """The initializer that holds ``data``, the little-endian bytes of ``shape`` values."""
        tensor = TensorProto(name=name, data_type=data_type, dims=shape)
        if len(data) < _EXTERNAL_BYTES:
            tensor.raw_data = data
            return tensor
        self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
        place = {"location": self.path.name, "offset": self._file.tell(), "length": len(data)}
        self._file.write(data)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def floats(self, name: str, values: NDArray[np.float32], data_type: int) -> TensorProto:
        """``values`` in a float type."""
        return self.tensor(name, data_type, values.shape, as_stored(values, data_type).tobytes())

    def numbers(self, name: str, values: NDArray[Any], bits: int) -> TensorProto:
        """``values`` in their own type; 4-bit integers and E2M1 are packed two to a byte."""
        data_type, pack = _STORED[values.dtype, bits]
        return self.tensor(name, data_type, values.shape, pack(values).tobytes())


def stored_scales(weight: QuantizedWeight, data_type: int) -> NDArray[np.float32]:
    """A weight's scales as the graph's float type can hold them: in float16 never below 2**-24.

    (The integers were rounded for the unrounded scale: half a unit in the last place of 11 bits.)
    """
    if data_type != TensorProto.FLOAT16:
        return weight.scales
    return np.maximum(weight.scales, np.float32(2.0**-24))
