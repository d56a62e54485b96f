"""TensorRT and TensorRT-RTX behind one interface; how their versions differ is known here alone.

Tried: TensorRT-RTX 1.7. The others' bindings are known from a recorded table of what they have
(`tests/contract/tensorrt_api.json`).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from janus_edge.cuda_driver import why_no_gpu
from janus_edge.engines.tensorrt.objects import (
    Builder,
    IAttentionInputLayer,
    INetworkDefinition,
    OnnxParser,
)
from janus_edge.errors import DependencyError, EngineError, InputError

#: Python module, name and the extra that installs it, per target.
_MODULES = {
    "tensorrt": ("tensorrt", "TensorRT", "tensorrt"),
    "tensorrt-10.3": ("tensorrt", "TensorRT", "tensorrt"),
    "tensorrt-rtx": ("tensorrt_rtx", "TensorRT-RTX", "rtx"),
}


@dataclass(frozen=True, slots=True)
class Features:
    """What a version of TensorRT has; nothing else asks for versions.

    ``network_flags`` ask for a strongly typed network, the only kind that TensorRT 11 has.
    ``capabilities`` ('8.9') are those it builds for without their GPU; it then measures no kernels.
    ``cache_update``: a KV cache is written in place, as TensorScatter wants it (10.15).
    ``user_allocation``: only with a flag does a run allocate nothing, as CUDA graphs need it.
    """

    network_flags: int
    capabilities: tuple[str, ...]
    attention: bool
    cache_update: bool
    streamed_plan: bool
    user_allocation: bool

    @property
    def timing_cache(self) -> bool:
        """Whether builds measure kernels, so that a timing cache saves time.

        TensorRT-RTX has the calls, too, but deprecates them as doing nothing.
        """
        return not self.capabilities


def features(trt: Any) -> Features:
    """What the module ``trt`` has."""

    def has(name: str) -> bool:
        owner = trt
        for part in name.split("."):
            owner = getattr(owner, part, None)
        return owner is not None

    flags = 0
    if has("NetworkDefinitionCreationFlag.STRONGLY_TYPED"):
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    capabilities: tuple[str, ...] = ()
    if (
        has("ComputeCapability")
        and has("IBuilderConfig.set_compute_capability")
        and has("IBuilderConfig.num_compute_capabilities")
    ):
        members = [name[2:] for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
        capabilities = tuple(f"{name[:-1]}.{name[-1]}" for name in members)
    attention = (
        has("LayerType.ATTENTION_INPUT")
        and has("IAttentionInputLayer.attention")
        and has("IAttention.decomposable")
    )
    cache_update = has("LayerType.KV_CACHE_UPDATE")
    streamed = has("Builder.build_serialized_network_to_stream") and has("IStreamWriter")
    user_allocation = has("BuilderFlag.REQUIRE_USER_ALLOCATION")
    return Features(flags, capabilities, attention, cache_update, streamed, user_allocation)


@dataclass(frozen=True, slots=True)
class TensorRT:
    """An imported TensorRT: its ``name`` for messages, its version, module and features."""

    name: str
    version: str
    module: Any
    features: Features

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def tool(self) -> str:
        """What an engine's manifest calls it; `runtime/tensorrt/api.py` must call it the same."""
        return self.name.lower()


def load(target: str) -> TensorRT:
    """Import the TensorRT that ``target`` builds with.

    Raises DependencyError where it is not installed or does not import, InputError for a target
    that is none of TensorRT's.
    """
    if target not in _MODULES:
        raise InputError(
            f"{target!r} is no target of TensorRT: choose one of {', '.join(_MODULES)}"
        )
    module, name, extra = _MODULES[target]
    try:
        trt = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise DependencyError.missing(name.lower(), extra) from missing
    except (ImportError, OSError) as broken:  # OSError: one of its libraries
        raise DependencyError(
            f"{name} is installed but does not import ({broken}): install it again, with the "
            "libraries of the same version"
        ) from broken
    return TensorRT(name, trt.__version__, trt, features(trt))


def new_builder(tensorrt: TensorRT, logger: Any) -> Builder:
    """A builder; raises EngineError where one needs a GPU and there is none."""
    if not tensorrt.features.capabilities:
        reason = why_no_gpu()
        if reason:
            raise EngineError(f"{tensorrt} builds on the GPU that it builds for: {reason}")
    trt = tensorrt.module
    try:
        builder: Builder = trt.Builder(logger)
    except TypeError as failure:  # the bindings' word for a null pointer
        raise EngineError(
            f"{tensorrt} cannot start a builder ({failure}); check with `nvidia-smi` that the driver "
            "is new enough for its CUDA, and that the GPU's memory is not used up"
        ) from failure
    return builder


def new_network(tensorrt: TensorRT, builder: Builder) -> INetworkDefinition:
    """An empty, strongly typed network: precision is the graph's."""
    return builder.create_network(tensorrt.features.network_flags)


def new_parser(tensorrt: TensorRT, network: INetworkDefinition, logger: Any) -> OnnxParser:
    """A parser that fills ``network``."""
    trt = tensorrt.module
    parser: OnnxParser = trt.OnnxParser(network, logger)
    return parser


def allow_decomposition(tensorrt: TensorRT, network: INetworkDefinition) -> int:
    """Let attention without a kernel of its own be built from several; how many layers there are.

    That is all attention in float32, and heads of more than 256 (the VQ models' one head has 512);
    others keep their kernel (the plans were seen to have equal sizes). A version without attention
    layers gets its graphs without Attention operators.
    """
    if not tensorrt.features.attention:
        return 0
    trt = tensorrt.module
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    found = [layer for layer in layers if layer.type == trt.LayerType.ATTENTION_INPUT]
    for layer in found:
        layer.__class__ = trt.IAttentionInputLayer  # the bindings give the base class
        first: IAttentionInputLayer = layer  # type: ignore[assignment]
        first.attention.decomposable = True
    return len(found)
