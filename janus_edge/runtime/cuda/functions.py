"""The functions of the CUDA driver's library that are called, with their C types.

`libcuda.so.1` comes with the driver itself, on Jetson too: neither a CUDA toolkit nor a Python
package is needed. Types are those of `cuda.h` (CUDA 13.0), names those it exports: a function whose
signature changed has a number behind its name. Without types ctypes would cut addresses to 32 bits.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_void_p
from typing import Any

from janus_edge.cuda_driver import why_no_gpu
from janus_edge.errors import BackendError

LIBRARY = "libcuda.so.1"

_ADDRESS = c_uint64  # CUdeviceptr, 64 bits on every machine that TensorRT has
_HANDLE = c_void_p  # CUcontext, CUstream, CUevent, CUgraph, CUgraphExec, CUmodule, CUfunction
_STREAM = c_void_p

#: Name -> types of the arguments; all return a CUresult.
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(_HANDLE), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (_HANDLE,),
    "cuMemGetInfo_v2": (POINTER(c_size_t), POINTER(c_size_t)),
    "cuMemAlloc_v2": (POINTER(_ADDRESS), c_size_t),
    "cuMemFree_v2": (_ADDRESS,),
    "cuMemAllocHost_v2": (POINTER(c_void_p), c_size_t),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (_ADDRESS, c_void_p, c_size_t, _STREAM),
    "cuMemcpyDtoHAsync_v2": (c_void_p, _ADDRESS, c_size_t, _STREAM),
    "cuMemcpyDtoDAsync_v2": (_ADDRESS, _ADDRESS, c_size_t, _STREAM),
    "cuMemsetD8Async": (_ADDRESS, c_ubyte, c_size_t, _STREAM),
    "cuStreamCreate": (POINTER(_STREAM), c_uint),
    "cuStreamSynchronize": (_STREAM,),
    "cuStreamDestroy_v2": (_STREAM,),
    "cuEventCreate": (POINTER(_HANDLE), c_uint),
    "cuEventRecord": (_HANDLE, _STREAM),
    "cuEventSynchronize": (_HANDLE,),
    "cuEventDestroy_v2": (_HANDLE,),
    "cuStreamBeginCapture_v2": (_STREAM, c_int),
    "cuStreamEndCapture": (_STREAM, POINTER(_HANDLE)),
    "cuGraphInstantiateWithFlags": (POINTER(_HANDLE), _HANDLE, c_uint64),
    "cuGraphLaunch": (_HANDLE, _STREAM),
    "cuGraphExecDestroy": (_HANDLE,),
    "cuGraphDestroy": (_HANDLE,),
    "cuModuleLoadData": (POINTER(_HANDLE), c_void_p),
    "cuModuleGetFunction": (POINTER(_HANDLE), _HANDLE, c_char_p),
    "cuModuleUnload": (_HANDLE,),
    # function, grid, block, bytes of shared memory, stream, arguments, extra
    "cuLaunchKernel": (
        _HANDLE, *[c_uint] * 6, c_uint, _STREAM, POINTER(c_void_p), POINTER(c_void_p),
    ),
}  # fmt: skip


def load_library() -> Any:
    """The driver's library with the types of its functions set.

    Raises BackendError where there is no driver, no GPU, or a driver that is too old; a process
    without a GPU is never ended by asking.
    """
    reason = why_no_gpu()
    if reason:
        raise BackendError(f"this engine runs on an NVIDIA GPU: {reason}")
    library = ctypes.CDLL(LIBRARY)
    for name, types in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError as absent:
            raise BackendError(
                f"the NVIDIA driver is too old: its {LIBRARY} lacks {name}; update the driver"
            ) from absent
        function.argtypes, function.restype = types, c_int
    return library
