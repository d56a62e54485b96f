"""Arrays on the device, each at one address as long as it lives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from janus_edge.errors import BackendError
from janus_edge.runtime.ort_cuda.provider import Provider


class DeviceArray:
    """A tensor in memory of the device, which ONNX Runtime allocates and frees with this object.

    Its content is undefined until it is written. ``what`` names it in errors. Raises BackendError
    without enough memory.
    """

    def __init__(
        self, provider: Provider, shape: Sequence[int], dtype: DTypeLike, what: str
    ) -> None:
        self.shape, self.dtype, self.what = tuple(shape), np.dtype(dtype), what
        self._provider = provider
        try:
            self._value = provider.ort.OrtValue.ortvalue_from_shape_and_type(
                list(shape), self.dtype.type, provider.device, 0
            )
        except Exception as failure:  # onnxruntime's exceptions have no common base but this
            size = self.nbytes / 2**20
            raise BackendError(
                f"{what}: {size:,.1f} MiB cannot be had on the device "
                f"({provider.told(failure, 'free memory of the GPU')})"
            ) from failure

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def address(self) -> int:
        """Where it lies on the device."""
        return int(self._value.data_ptr())

    def upload(self, array: NDArray[Any]) -> None:
        """Take the content of an array of its shape and dtype; it has been copied on return."""
        if array.shape != self.shape or array.dtype != self.dtype:  # ONNX Runtime notices neither
            raise ValueError(
                f"{self.what}: is {self.dtype} {list(self.shape)}, not {array.dtype} "
                f"{list(array.shape)}"
            )
        try:
            self._value.update_inplace(array)
        except Exception as failure:  # as above
            raise self._failure(failure) from failure

    def download(self) -> NDArray[Any]:
        """Its content, copied to the host."""
        try:
            return np.array(self._value.numpy())  # which on the CPU is the memory itself
        except Exception as failure:  # as above
            raise self._failure(failure) from failure

    def _failure(self, failure: Exception) -> BackendError:
        told = self._provider.told(failure, "check `nvidia-smi`, and start the process again")
        return BackendError(f"{self.what}: cannot be copied ({told})")
