"""Whether there is an NVIDIA GPU, and which, asked of the driver's library alone.

Creating TensorRT's builder or runtime without a driver fails without a reason or ends the process.
CUDA Driver API: cuInit, cuDriverGetVersion, cuDeviceGetCount, cuDeviceGet, cuDeviceGetName,
cuDeviceGetAttribute, cuDeviceGetPCIBusId. No context is created, so a query takes no GPU memory.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from janus_edge.errors import BackendError

_LIBRARY = "libcuda.so.1"

#: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, and CU_DEVICE_ATTRIBUTE_INTEGRATED.
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18

#: CUresult values that have a fix of their own.
_REASONS = {
    100: "the driver sees no GPU; check `nvidia-smi`, and that this container was given the GPU",
    803: "the driver's library and its kernel module differ; restart the machine",
    804: "the driver is too old for this CUDA; update it",
    999: "the driver failed; check `nvidia-smi`, and restart the machine",
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU's ``name`` ('Orin') and ``compute_capability`` ('8.7').

    ``cuda`` is the newest CUDA that its driver supports ('12.6'). An ``integrated`` GPU (Jetson) shares
    the machine's memory.
    """

    name: str
    compute_capability: str
    cuda: str
    integrated: bool = False


def why_no_gpu() -> str | None:
    """Why no GPU can be used, with the fix; None where there is one."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return f"there is no NVIDIA driver ({_LIBRARY} was not found); install it"
    count = ctypes.c_int(0)
    result = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count))
    if result:
        return _failure(result)
    return None if count.value else _REASONS[100]


def first_gpu() -> Gpu:
    """The GPU that TensorRT builds and runs on: the driver's first (CUDA_VISIBLE_DEVICES chooses).

    Raises BackendError, with the fix, where none can be used.
    """
    reason = why_no_gpu()
    if reason:
        raise BackendError(f"no GPU can be used: {reason}")
    library = ctypes.CDLL(_LIBRARY)
    device, name = _number(library.cuDeviceGet, 0), ctypes.create_string_buffer(256)
    _check(library.cuDeviceGetName(name, len(name), device))
    major, minor, integrated = (
        _number(library.cuDeviceGetAttribute, attribute, device)
        for attribute in (_MAJOR, _MINOR, _INTEGRATED)
    )
    version = _number(library.cuDriverGetVersion)  # 1000 * major + 10 * minor
    return Gpu(
        name.value.decode("utf-8", "replace"),
        f"{major}.{minor}",
        f"{version // 1000}.{version % 1000 // 10}",
        bool(integrated),
    )


def first_gpu_bus_id() -> str:
    """The PCI address of :func:`first_gpu` ('0000:01:00.0'); raises BackendError as it does."""
    reason = why_no_gpu()
    if reason:
        raise BackendError(f"no GPU can be used: {reason}")
    library = ctypes.CDLL(_LIBRARY)
    address = ctypes.create_string_buffer(32)
    _check(library.cuDeviceGetPCIBusId(address, len(address), _number(library.cuDeviceGet, 0)))
    return address.value.decode("ascii", "replace")


def _number(function: Any, *arguments: int) -> int:
    """What a function of the driver writes to its first argument."""
    value = ctypes.c_int(0)
    _check(function(ctypes.byref(value), *arguments))
    return value.value


def _check(result: int) -> None:
    if result:
        raise BackendError(f"no GPU can be used: {_failure(result)}")


def _failure(result: int) -> str:
    reason = _REASONS.get(result, "see its code in the CUDA Driver API's CUresult")
    return f"the NVIDIA driver answered with error {result}: {reason}"
