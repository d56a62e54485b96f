"""Checked calls of the CUDA driver: a CUresult that is not success becomes a BackendError."""

from __future__ import annotations

import ctypes
from typing import Any

from janus_edge.errors import BackendError

OUT_OF_MEMORY = 2

#: CUresult values that have a fix of their own.
_FIXES = {
    OUT_OF_MEMORY: "free memory of the GPU, ask for less at once, or build with a smaller capacity, "
    "or from a bundle with smaller weights (int8, int4-weight)",
    36: "the driver is older than what calls it: update it",
    46: "another process holds the GPU alone: end it, or change the GPU's compute mode",
    100: "the driver sees no GPU; check `nvidia-smi`, and that this container was given the GPU",
    101: "there is no such GPU; check CUDA_VISIBLE_DEVICES",
    209: "the engine has no kernels for this GPU; build it again on this machine",
    214: "the GPU's memory has an error that cannot be corrected; restart the machine",
    218: "the driver is too old for a kernel of janus-edge, or the file is damaged: update the driver, "
    "or install janus-edge again",
    221: "the driver's compiler (libnvidia-ptxjitcompiler.so.1) is missing: install the whole driver, "
    "or give the container NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    222: "the driver is too old for a kernel of janus-edge: update it",
    223: "the driver may not compile kernels: unset CUDA_DISABLE_PTX_JIT",
    800: "this user may not use the GPU; check the permissions of /dev/nvidia*",
    802: "the system is still starting the GPU; try again, and check `nvidia-smi`",
    803: "the driver's library and its kernel module differ; restart the machine",
    804: "the driver is too old for this CUDA; update it",
    999: "the driver failed; check `nvidia-smi`, and restart the machine",
}

#: Behind these every call fails until the process ends (`cuda.h` 13.0 says so of each but 710, of
#: which it says that the context must be destroyed; TensorRT shares ours).
STICKY = frozenset({226, 700, 702, 710, *range(714, 720), 721, 810, 911})

#: All of them are about the capture of a stream in a CUDA graph.
_CAPTURE = range(900, 909)


class Driver:
    """``library`` is `libcuda.so.1` with its types set, or what stands for it in tests."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._lost: str | None = None

    @property
    def lost(self) -> bool:
        """Whether an error made the GPU unusable for the rest of the process."""
        return self._lost is not None

    def call(self, function: str, *arguments: Any, doing: str) -> None:
        """Call ``function``; raises BackendError with what was being done, the code and the fix."""
        self.check(self.status(function, *arguments), function, doing)

    def status(self, function: str, *arguments: Any) -> int:
        """Call ``function`` and return its CUresult; raises BackendError behind a sticky error."""
        if self._lost is not None:
            raise BackendError(self._lost)
        return int(getattr(self._library, function)(*arguments))

    def check(self, status: int, function: str, doing: str) -> None:
        """Raise BackendError unless ``status`` is success."""
        if not status:
            return
        message = f"{doing}: {function} answered {self._described(status)}"
        if status in STICKY:
            self._lost = (
                f"{message}; the GPU cannot be used any more by this process: end it and start "
                "again, and if it happens again, report it with the engine's manifest"
            )
            raise BackendError(self._lost)
        fix = "see `cuda.h` or CUDA's documentation, and check `nvidia-smi`"
        if status in _CAPTURE:
            fix = "a call was made that a capture does not allow"
        raise BackendError(f"{message}; {_FIXES.get(status, fix)}")

    def _described(self, status: int) -> str:
        """'CUDA error 2, CUDA_ERROR_OUT_OF_MEMORY (out of memory)'."""
        words = []
        for function in ("cuGetErrorName", "cuGetErrorString"):
            text = ctypes.c_char_p()
            known = not getattr(self._library, function)(status, ctypes.byref(text))
            words.append(text.value.decode() if known and text.value else "unknown")
        return f"CUDA error {status}, {words[0]} ({words[1]})"
