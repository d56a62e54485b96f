"""A custom kernel: PTX text that the driver compiles for its GPU, and its launch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from janus_edge.runtime.cuda.device import Device


class Kernel:
    """The function ``name`` of the PTX module ``text``.

    The driver's compiler reads the text when this is created, so neither a CUDA toolkit nor `nvcc` is
    needed. Raises BackendError if the compiler rejects it.
    """

    def __init__(self, device: Device, text: str, name: str) -> None:
        self._device, self._name = device, name
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        doing = f"compiling the kernel {name}"
        image = ctypes.create_string_buffer(text.encode("ascii"))
        device.driver.call("cuModuleLoadData", ctypes.byref(module), image, doing=doing)
        assert module.value is not None
        device.own(self, "cuModuleUnload", module.value)
        device.driver.call(
            "cuModuleGetFunction", ctypes.byref(function), module, name.encode("ascii"), doing=doing
        )
        self._function = function

    def launch(
        self, grid: tuple[int, int, int], block: tuple[int, int, int], arguments: Sequence[Any]
    ) -> None:
        """Queue a run of ``grid`` blocks of ``block`` threads; a stream being captured records it.

        ``arguments`` are ctypes values of the types of the kernel's parameters. The driver copies them
        now.
        """
        pointers = (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        self._device.driver.call(
            "cuLaunchKernel", self._function, *grid, *block, 0, self._device.stream.handle, pointers,
            None, doing=f"queuing the kernel {self._name}",
        )  # fmt: skip
