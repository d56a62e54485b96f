"""Which targets can be tried on this machine, and why others cannot."""

from __future__ import annotations

import importlib
import subprocess

from benchmarks.gpu_check.report import Device
from janus_edge.cuda_driver import Gpu, first_gpu
from janus_edge.errors import BackendError, JanusEdgeError
from janus_edge.tensorrt_module import MODULES


def find_device() -> Device | str:
    """The GPU that engines are built on and run on, or why there is none, with the fix."""
    try:
        gpu = first_gpu()
    except BackendError as missing:
        return str(missing)
    return Device(gpu.name, gpu.compute_capability, gpu.cuda, *_told_by_smi(gpu))


def why_not(target: str, device: Device | str, *, asked: bool = False) -> str | None:
    """Return why engines of ``target`` cannot be built and run here; None if they can be tried.

    If one TensorRT serves two targets, only the newer one is tried unless the other is ``asked`` for.
    """
    if target == "ort-cpu":
        return _without("CPUExecutionProvider")
    if isinstance(device, str):
        return device
    if target == "ort-cuda":
        return _without("CUDAExecutionProvider")
    return _tensorrt_lacks(target, device, asked) if target in MODULES else None


def _without(provider: str) -> str | None:
    try:
        ort = importlib.import_module("onnxruntime")
    except ImportError as broken:
        return f"onnxruntime cannot be imported ({broken}); pip install 'janus-edge[gpu]'"
    if provider in ort.get_available_providers():
        return None
    return f"onnxruntime {ort.__version__} has no {provider}; pip install 'janus-edge[gpu]'"


def _tensorrt_lacks(target: str, device: Device, asked: bool) -> str | None:
    try:
        # both need onnx
        from janus_edge.engines.tensorrt.api import load
        from janus_edge.engines.tensorrt.options import known_capabilities

        tensorrt = load(target)
        if tensorrt.features.capabilities:
            known_capabilities(tensorrt, [device.compute_capability])
    except ImportError as missing:
        return f"building needs {missing.name}; pip install 'janus-edge[engines]'"
    except JanusEdgeError as reason:
        return str(reason)
    if target != "tensorrt-10.3" and not tensorrt.features.cache_update:
        return f"{tensorrt} has no cache that is updated in place; its target is tensorrt-10.3"
    if target == "tensorrt-10.3" and tensorrt.features.cache_update and not asked:
        return f"{tensorrt} updates a cache in place; its target is tensorrt"
    return None


def _told_by_smi(gpu: Gpu) -> tuple[str | None, int | None]:
    """Driver's version and MiB of memory of the GPU of that name; of a Jetson nothing."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total"]
    try:
        done = subprocess.run(
            [*query, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None, None
    for line in done.stdout.splitlines():
        words = [word.strip() for word in line.split(",")]
        if words[0] == gpu.name and len(words) == 3:
            return words[1], int(words[2]) if words[2].isdigit() else None
    return None, None
