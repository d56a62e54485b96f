"""GPUs by compute capability, and the target to use where TensorRT-RTX cannot build.

Sources: CUDA's list of GPUs; TensorRT-RTX's `ComputeCapability` and its page "CPU-only AOT engines";
docs/jetson.md for the Jetsons.
"""

from __future__ import annotations

#: The capabilities that TensorRT-RTX 1.7 builds for; must equal tests/contract/tensorrt_api.json.
RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")

#: The best-known GPUs of each capability; Thor is 10.1 before CUDA 13.
_GPUS = {
    "7.5": "RTX 20 series, T4", "8.0": "A100", "8.6": "RTX 30 series, A10", "8.7": "Jetson Orin",
    "8.9": "RTX 40 series, L4, L40", "9.0": "H100, H200, GH200", "10.0": "B200, GB200",
    "10.1": "Jetson Thor", "10.3": "B300", "11.0": "Jetson Thor", "12.0": "RTX 50 series",
    "12.1": "GB10",
}  # fmt: skip

#: Each JetPack has one version of TensorRT, and older versions need another lowering.
_TARGETS = {
    "8.7": "tensorrt-10.3 (JetPack 6) or tensorrt (JetPack 7.2)",
    "10.1": "tensorrt-10.3 (JetPack 7.0, 7.1) or tensorrt (JetPack 7.2)",
    "11.0": "tensorrt-10.3 (JetPack 7.0, 7.1) or tensorrt (JetPack 7.2)",
}


def gpus(capability: str) -> str:
    """'9.0 (H100, H200, GH200)'; the capability alone if no GPU is listed for it."""
    known = _GPUS.get(capability)
    return f"{capability} ({known})" if known else capability


def target_instead(capability: str) -> str:
    """The target for a GPU that TensorRT-RTX does not support: TensorRT, built on that GPU."""
    return _TARGETS.get(capability, "tensorrt")


def built_by_rtx(capability: str) -> bool:
    """Whether TensorRT-RTX 1.7 builds for the capability."""
    return capability in RTX_CAPABILITIES
