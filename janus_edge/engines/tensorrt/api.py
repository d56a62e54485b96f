"""TensorRT and TensorRT-RTX behind one interface; how their versions differ is known here alone.

Tried: TensorRT-RTX 1.7. The others' bindings are known from a recorded table of what they have
(`tests/contract/tensorrt_api.json`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from janus_edge.cuda_driver import why_no_gpu
from janus_edge.engines.tensorrt.objects import (
    Builder,
    INetworkDefinition,
    OnnxParser,
)
from janus_edge.errors import EngineError
from janus_edge.tensorrt_module import Installed, installed
from janus_edge.tensorrt_module import has as member


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
    has = partial(member, trt)

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
        and has("IAttention.get_input")
        and has("IAttention.set_input")
    )
    cache_update = has("LayerType.KV_CACHE_UPDATE")
    streamed = has("Builder.build_serialized_network_to_stream") and has("IStreamWriter")
    user_allocation = has("BuilderFlag.REQUIRE_USER_ALLOCATION")
    return Features(flags, capabilities, attention, cache_update, streamed, user_allocation)


@dataclass(frozen=True, slots=True)
class TensorRT(Installed):
    """An imported TensorRT and what its version has."""

    features: Features


def load(target: str) -> TensorRT:
    """Import the TensorRT that ``target`` builds with; raises as :func:`installed`."""
    found = installed(target)
    return TensorRT(found.name, found.version, found.module, features(found.module))


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
