"""Run a command on a GPU simulated with numpy: a fake driver, fake TensorRTs and ONNX Runtime.

    python -m tests.unit.gpu_check.rehearsal MODULE ARGUMENTS

`python -m benchmarks.gpu_check --rehearse` runs every command through this module. TensorRT engines
compute what NVIDIA's parser made of the graphs (`rehearsed_plans.py`). Times, limits and memory mean
nothing. Codes show that the commands and the parsed networks are right, not that the kernels are.
"""

from __future__ import annotations

import ctypes
import enum
import importlib
import os
import runpy
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

from janus_edge.config import JanusConfig
from tests.unit.runtime.cuda.fake_driver import FakeDriver
from tests.unit.runtime.ort_cuda.fake_onnxruntime import CUDA, FakeOnnxRuntime

WARNING = "REHEARSAL: no GPU took part; times, limits and memory mean nothing"

#: Environment variable that says what is rehearsed; only the rehearsal sets it.
VARIABLE = "JANUS_EDGE_REHEARSAL"

_LIBRARY, _CAPABILITY = "libcuda.so.1", "8.9"

#: Module, version in the recorded table, and tool for each TensorRT.
_FLAVOURS = {
    "tensorrt": ("tensorrt", "10.16", "tensorrt"),
    "tensorrt-rtx": ("tensorrt_rtx", "rtx-1.7", "tensorrt-rtx"),
    "tensorrt-10.3": ("tensorrt", "10.16", "tensorrt"),
}


_REAL: Any = importlib.import_module("onnxruntime")


class BothProviders(FakeOnnxRuntime):
    """ONNX Runtime with the fake as its CUDA provider and with its own CPU provider."""

    def __init__(self) -> None:
        super().__init__()
        named = SimpleNamespace(
            ortvalue_from_numpy=_REAL.OrtValue.ortvalue_from_numpy,
            ortvalue_from_shape_and_type=self._value,
        )
        self.OrtValue = named

    def InferenceSession(self, path: str, options: Any, providers: Any, **rest: Any) -> Any:  # noqa: N802
        names = [one if isinstance(one, str) else one[0] for one in providers]
        if CUDA in names:
            return super().InferenceSession(path, options, providers, **rest)
        return _REAL.InferenceSession(path, options, providers=providers, **rest)


def install(what: str) -> str:
    """Install the fakes for the rest of this process; return the warning for the reader."""
    driver, real = FakeDriver(name=b"REHEARSAL", total=8 << 30), ctypes.CDLL

    def library(name: Any, *rest: Any, **named: Any) -> Any:
        return driver if name == _LIBRARY else real(name, *rest, **named)

    ctypes.CDLL = library  # type: ignore[assignment,misc]
    sys.modules["onnxruntime"] = BothProviders()  # type: ignore[assignment]
    _install_tensorrt(driver, what)
    return f"{WARNING} (rehearsed: {what})"


def _install_tensorrt(driver: FakeDriver, what: str) -> None:
    from janus_edge.engines import targets
    from tests.unit.gpu_check import rehearsed_plans
    from tests.unit.runtime.tensorrt.fake_tensorrt import fake_module

    rehearsed_plans.install()  # while tensorrt_rtx is still the real module

    for module, version, _ in _FLAVOURS.values():
        made = fake_module(driver, version=version)
        if version.startswith("rtx"):
            made.ComputeCapability = enum.Enum("ComputeCapability", ["SM80", "SM86", "SM89"])
            made.IBuilderConfig = type("IBuilderConfig", (), {
                "set_compute_capability": None, "num_compute_capabilities": 0})  # fmt: skip
        made.LayerType = enum.Enum("LayerType", ["KV_CACHE_UPDATE", "ATTENTION_INPUT"])
        made.__spec__ = ModuleSpec(module, None)
        sys.modules[module] = made
    original = targets.target

    def target(name: str, config: JanusConfig | None = None, options: Any = None) -> Any:
        if name not in _FLAVOURS:
            return original(name, config, options or targets.TargetOptions())
        assert config is not None
        return _fake_target(name, config, options, what)

    targets.target = target


def _fake_target(name: str, config: JanusConfig, options: Any, what: str) -> Any:
    from janus_edge.engines.tensorrt.profile_option import parse_profile
    from tests.unit.gpu_check.rehearsed_plans import RehearsedTarget

    module, _, tool = _FLAVOURS[name]
    return RehearsedTarget(
        config, name, _CAPABILITY, parse_profile(options.profile, config),
        {tool: sys.modules[module].__version__}, real=True, what=what,
    )  # fmt: skip


def main() -> None:
    """Run the module named first as if it were started directly."""
    del sys.argv[0]
    if not sys.argv[0].startswith(("pytest", "pip")):
        install(os.environ[VARIABLE])
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
