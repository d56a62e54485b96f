"""`--workspace`: the limit of one layer's scratch memory.

A builder that times kernels allocates up to this limit while it tries them. TensorRT's own limit is all
of the GPU's memory. On a Jetson that is all of the machine's memory, so the system kills the builder.
"""

from __future__ import annotations

import re

from janus_edge.cuda_driver import Gpu
from janus_edge.errors import InputError

#: The option's name in an engine's manifest, and after two hyphens on the command line.
OPTION = "workspace"

#: The default where the GPU shares the machine's memory (chosen, not yet tried on a device).
_INTEGRATED = 512 << 20

#: As trtexec has them; a bare number would be MiB to trtexec.
_UNITS = {"B": 0, "K": 10, "M": 20, "G": 30}


def parse_workspace(text: str) -> int:
    """Bytes of '512M' or '2G' (powers of 1024); raises InputError for anything else."""
    number = re.fullmatch(r"(\d{1,12})([BKMG])", text.strip().upper(), re.ASCII)
    size = int(number[1]) << _UNITS[number[2]] if number else 0
    if not 0 < size < 1 << 63:
        raise InputError(
            f"--{OPTION} must be a size with its unit, such as 512M or 2G; found {text!r}"
        )
    return size


def default_workspace(gpu: Gpu | None) -> int | None:
    """The default limit in bytes; None leaves it to TensorRT.

    ``gpu`` is the GPU that builds; None for TensorRT-RTX, which builds ahead of time. It times no
    kernels, so its build takes no GPU memory, and it supports no integrated GPU.
    """
    return _INTEGRATED if gpu and gpu.integrated else None


def in_words(size: int) -> str:
    """Format ``size`` for :func:`parse_workspace`, in the largest unit that divides it."""
    for unit, bits in sorted(_UNITS.items(), key=lambda one: -one[1]):
        if size % (1 << bits) == 0:
            return f"{size >> bits}{unit}"
    raise AssertionError("every size is a whole number of bytes")
