"""Recipe limits of each target, which `build` and `quantize --for` enforce.

Sources for TensorRT: "Quantization Schemes" and "Working with Quantized Types" in NVIDIA's TensorRT
documentation (weights alone: INT4 only, in blocks of 64 or 128), "Working with Quantized Types" of
TensorRT-RTX (FP8 from compute capability 8.9, FP4 from 10.0), and ``NvInfer.h`` of 10.3 (blocks of INT4
only).
"""

from __future__ import annotations

from collections.abc import Sequence

from janus_edge.recipe import Recipe
from janus_edge.tensorrt_module import MODULES

#: The lowest compute capability that computes with each type.
_CAPABILITIES = {"fp8": "8.9", "nvfp4": "10.0"}

#: int4 block sizes that TensorRT documents.
INT4_BLOCKS = (64, 128)


def refusal(target: str, recipe: Recipe, *, elsewhere: bool = True) -> str | None:
    """Why ``target`` refuses a bundle of ``recipe``, with the fix; None if it takes it.

    Without ``elsewhere`` the fix names no other target.
    """
    if target in MODULES:
        return _tensorrt(target, recipe, elsewhere)
    return _onnx_runtime(target, recipe)


def capability_refusal(
    recipe: Recipe, capabilities: Sequence[str], *, elsewhere: bool = True
) -> str | None:
    """Why GPUs of these compute capabilities ('8.6') cannot compute with ``recipe``, with the fix.

    Without ``elsewhere`` the fix names no other GPUs.
    """
    for name, least in _CAPABILITIES.items():
        lacking = [c for c in capabilities if _number(c) < _number(least)]
        if name in recipe.number_types and lacking:
            return (
                f"its weights are {name}, which needs compute capability {least} or newer, not "
                f"{', '.join(lacking)}: "
                + ("build only for such GPUs (--compute-capability 12.0), or " * elsewhere)
                + f"quantise with --recipe {'int8' if name == 'fp8' else 'int4-weight'}"
            )
    return None


def unusual_blocks(recipe: Recipe) -> tuple[int, ...]:
    """The recipe's int4 block sizes that TensorRT does not document."""
    blocks = {scheme.block for scheme in recipe.schemes if scheme.weights == "int4"}
    return tuple(sorted(blocks.difference(INT4_BLOCKS)))


def _onnx_runtime(target: str, recipe: Recipe) -> str | None:
    cuda = target == "ort-cuda"
    where = "CUDA provider" if cuda else "CPU provider"
    if recipe.float_type == "bfloat16":
        lacks = "no Resize, InstanceNormalization or DequantizeLinear" if cuda else "no kernels"
        return (
            f"its graphs are bfloat16, for which ONNX Runtime's {where} has {lacks}; export the bundle "
            f"with --precision {'fp16 (or fp32)' if cuda else 'fp32 (or fp16)'} for {target}"
        )
    if recipe.small_floats:
        names = " and ".join(sorted(recipe.number_types - {"int8", "int4"}))
        return (
            f"its weights are {names}, for which ONNX Runtime's {where} has no matrix products; "
            f"quantise with --recipe int8 or int4-weight for {target}"
        )
    return None


def rebuild_refusal(target: str, recipe: Recipe, capabilities: Sequence[str]) -> str | None:
    """Why these GPUs or ``target`` do not take ``recipe``, with a fix that keeps both; None if they do."""
    return capability_refusal(recipe, capabilities, elsewhere=False) or refusal(
        target, recipe, elsewhere=False
    )


def _tensorrt(target: str, recipe: Recipe, elsewhere: bool) -> str | None:
    old = target == "tensorrt-10.3"
    if old and recipe.float_type == "bfloat16":
        return (
            "its graphs are bfloat16, and opset 20 has no bfloat16 convolution or instance norm; "
            f"export the bundle with --precision fp16 for {target}"
        )
    if not all(scheme.symmetric for scheme in recipe.schemes):
        return (
            "its weights have zero points, which TensorRT does not take; quantise the float bundle "
            "with --symmetric"
        )
    if recipe.cache != "float":
        return (
            f"its KV cache is {recipe.cache}, which is untested with TensorRT; quantise the float "
            "bundle without -int8-cache"
        )
    if target == "tensorrt-rtx":
        return None
    alone = {scheme.weights for scheme in recipe.schemes if not scheme.inputs} - {"int4"}
    if alone:
        return (
            f"some weights are {' and '.join(sorted(alone))} with float inputs, which TensorRT supports "
            "for int4 only: it would widen the weights to 16 bits, or dequantise them at every "
            f"step; quantise with --recipe int8 or int4-weight for {target}, without -int8-heads"
            + ", or build for tensorrt-rtx"
            * elsewhere
        )
    if old and recipe.small_floats:
        return (
            "its weights are fp8, which is untested with TensorRT 10.3 and unsupported by the GPUs of "
            f"JetPack 6; quantise with --recipe int8 for {target}"
            + ", or build for tensorrt"
            * elsewhere
        )
    return None


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))
