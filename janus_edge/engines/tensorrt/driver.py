"""Whether there is an NVIDIA GPU, asked of the driver's library alone.

Creating TensorRT's builder or runtime without a driver fails without a reason or ends the process.
CUDA Driver API: cuInit, cuDeviceGetCount.
"""

from __future__ import annotations

import ctypes

_LIBRARY = "libcuda.so.1"

#: CUresult values that have a fix of their own.
_REASONS = {
    100: "the driver sees no GPU; check `nvidia-smi`, and that this container was given the GPU",
    803: "the driver's library and its kernel module differ; restart the machine",
    804: "the driver is too old for this CUDA; update it",
    999: "the driver failed; check `nvidia-smi`, and restart the machine",
}


def why_no_gpu() -> str | None:
    """Why no GPU can be used, with the fix; None where there is one."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return f"there is no NVIDIA driver ({_LIBRARY} was not found); install it"
    count = ctypes.c_int(0)
    result = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count))
    if result:
        reason = _REASONS.get(result, "see its code in the CUDA Driver API's CUresult")
        return f"the NVIDIA driver answered with error {result}: {reason}"
    return None if count.value else _REASONS[100]
