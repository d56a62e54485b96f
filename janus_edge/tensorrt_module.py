"""The Python module of TensorRT or TensorRT-RTX, as building and running find it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from janus_edge.errors import DependencyError, InputError

#: Python module, name and the extra that installs it, per target.
MODULES = {
    "tensorrt": ("tensorrt", "TensorRT", "tensorrt"),
    "tensorrt-10.3": ("tensorrt", "TensorRT", "tensorrt"),
    "tensorrt-rtx": ("tensorrt_rtx", "TensorRT-RTX", "rtx"),
}

#: On a Jetson an installed package would hide JetPack's own.
_NO_TENSORRT = (
    "the Python package 'tensorrt' is not installed: on a Jetson it comes with JetPack, so make the "
    "virtual environment with --system-site-packages; elsewhere  pip install 'janus-edge[tensorrt]'; "
    "without a GPU, write trtexec's commands with --trtexec, or build for tensorrt-rtx"
)


@dataclass(frozen=True, slots=True)
class Installed:
    """An imported TensorRT: its ``name`` for messages, its version and module."""

    name: str
    version: str
    module: Any

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def tool(self) -> str:
        """What an engine's manifest calls it among the tools that it was built with."""
        return self.name.lower()


def installed(target: str) -> Installed:
    """Import the TensorRT of ``target``.

    Raises DependencyError if it is not installed, is incomplete or does not import, and InputError for a
    target that does not use TensorRT.
    """
    if target not in MODULES:
        raise InputError(f"{target!r} is not a TensorRT target: choose one of {', '.join(MODULES)}")
    module, name, extra = MODULES[target]
    try:
        trt = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if target != "tensorrt-rtx":
            raise DependencyError(_NO_TENSORRT) from missing
        raise DependencyError.missing(name.lower(), extra) from missing
    except (ImportError, OSError) as broken:  # OSError: one of its libraries
        raise DependencyError(
            f"{name} is installed but does not import ({broken}): install it again, with the "
            "libraries of the same version"
        ) from broken
    version = getattr(trt, "__version__", None)
    if not isinstance(version, str):  # a folder of that name imports, too
        place = getattr(trt, "__file__", None) or ", ".join(getattr(trt, "__path__", ()))
        raise DependencyError(
            f"the Python module {module} ({place or 'no file'}) has no version, so it is not a complete "
            f"{name}: remove it and install it again with  pip install 'janus-edge[{extra}]'"
        )
    return Installed(name, version, trt)


def has(trt: Any, name: str) -> bool:
    """Whether the module ``trt`` has a member, or a member of one ('ICudaEngine.refittable')."""
    owner = trt
    for part in name.split("."):
        owner = getattr(owner, part, None)
    return owner is not None
