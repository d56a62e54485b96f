"""GPUs by compute capability: which TensorRT builds for each, and what to use where TensorRT-RTX cannot.

Sources: CUDA's list of GPUs; TensorRT-RTX's `ComputeCapability` and its page "CPU-only AOT engines";
for the Jetsons docs/jetson.md.
"""

from __future__ import annotations

#: What TensorRT-RTX 1.7 builds for; tests/contract/tensorrt_api.json holds it against the bindings.
RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")

#: GPUs of the capabilities that are asked about most; Thor is 10.1 for CUDA before 13.
_GPUS = {
    "7.5": "RTX 20 series, T4", "8.0": "A100", "8.6": "RTX 30 series, A10", "8.7": "Jetson Orin",
    "8.9": "RTX 40 series, L4, L40", "9.0": "H100, H200, GH200", "10.0": "B200, GB200",
    "10.1": "Jetson Thor", "10.3": "B300", "11.0": "Jetson Thor", "12.0": "RTX 50 series",
    "12.1": "GB10",
}  # fmt: skip

#: JetPack has one version of TensorRT each, and older ones need another lowering.
_TARGETS = {
    "8.7": "tensorrt-10.3 (JetPack 6) or tensorrt (JetPack 7.2)",
    "10.1": "tensorrt-10.3 (JetPack 7.0, 7.1) or tensorrt (JetPack 7.2)",
    "11.0": "tensorrt-10.3 (JetPack 7.0, 7.1) or tensorrt (JetPack 7.2)",
}


def gpus(capability: str) -> str:
    """'9.0 (H100, H200, GH200)'; the capability alone where no GPU of it is listed."""
    known = _GPUS.get(capability)
    return f"{capability} ({known})" if known else capability


def target_instead(capability: str) -> str:
    """The targets for a GPU that TensorRT-RTX does not build for: TensorRT's, built on that GPU."""
    return _TARGETS.get(capability, "tensorrt")


def built_by_rtx(capability: str) -> bool:
    """Whether TensorRT-RTX 1.7 names the capability."""
    return capability in RTX_CAPABILITIES
