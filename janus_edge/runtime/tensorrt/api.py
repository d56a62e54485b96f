"""TensorRT and TensorRT-RTX for running; how their versions differ is known here alone.

None of it has run on a GPU. What the versions have is known from a recorded table of their bindings
(`tests/contract/tensorrt_api.json`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from janus_edge.errors import BackendError
from janus_edge.runtime.tensorrt.kernel_cache import KernelCache
from janus_edge.runtime.tensorrt.objects import (
    ICudaEngine,
    IExecutionContext,
    IRuntimeConfig,
    Runtime,
)
from janus_edge.tensorrt_module import Installed, installed
from janus_edge.tensorrt_module import has as member


@dataclass(frozen=True, slots=True)
class Features:
    """What a version has that others lack; nothing else asks for versions.

    ``aliased_tensors``: an engine tells which output shares the memory of an input (10.15).
    ``just_in_time``: kernels are compiled for shapes when they are first met, and a context tells
    whether it can be captured (TensorRT-RTX). ``kernel_cache``: what was compiled can be kept.
    """

    aliased_tensors: bool
    just_in_time: bool
    kernel_cache: bool


def features(trt: Any) -> Features:
    """What the module ``trt`` has."""
    has = partial(member, trt)

    return Features(
        aliased_tensors=has("ICudaEngine.get_aliased_input_tensor"),
        just_in_time=has("IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy")
        and has("IRuntimeConfig.set_execution_context_allocation_strategy")
        and has("ICudaEngine.create_runtime_config")
        and has("IExecutionContext.is_stream_capturable"),
        kernel_cache=has("IRuntimeConfig.create_runtime_cache")
        and has("IRuntimeConfig.set_runtime_cache")
        and has("IRuntimeCache.serialize")
        and has("IRuntimeCache.deserialize"),
    )


@dataclass(frozen=True, slots=True)
class TensorRT(Installed):
    """An imported TensorRT and what its version has."""

    features: Features


def load(target: str) -> TensorRT:
    """Import the TensorRT that runs engines of ``target``; raises as :func:`installed`."""
    found = installed(target)
    return TensorRT(found.name, found.version, found.module, features(found.module))


def new_runtime(tensorrt: TensorRT, logger: Any) -> Runtime:
    """What opens plans. There must be a GPU: without a driver this may end the process."""
    trt = tensorrt.module
    try:
        runtime: Runtime = trt.Runtime(logger)
    except TypeError as failure:  # the bindings' word for a null pointer
        raise BackendError(
            f"{tensorrt} cannot start ({failure}); check with `nvidia-smi` that the driver is new "
            "enough for its CUDA, and that the GPU's memory is not used up"
        ) from failure
    return runtime


def new_context(
    tensorrt: TensorRT, engine: ICudaEngine, *, captured: bool, kernels: KernelCache
) -> IExecutionContext | None:
    """A context that is given its scratch memory; None where TensorRT cannot make one.

    Where kernels are compiled as shapes are met, one that is ``captured`` waits for them in its
    first run, since nothing can be compiled during a capture; others compile in the background. What
    is in ``kernels`` need not be compiled.
    """
    trt = tensorrt.module
    if not tensorrt.features.just_in_time:
        return engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    config: IRuntimeConfig = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(
        trt.ExecutionContextAllocationStrategy.USER_MANAGED
    )
    if captured:
        strategy = type(config.dynamic_shapes_kernel_specialization_strategy)
        config.dynamic_shapes_kernel_specialization_strategy = strategy.EAGER  # type: ignore[attr-defined]
    if tensorrt.features.kernel_cache:
        kernels.attach(config)
    return engine.create_execution_context(config)


def can_be_captured(tensorrt: TensorRT, context: IExecutionContext, stream: int) -> bool:
    """Whether a run can be recorded in a CUDA graph, as far as this version tells."""
    return not tensorrt.features.just_in_time or context.is_stream_capturable(stream)


def aliased_input(tensorrt: TensorRT, engine: ICudaEngine, output: str) -> str | None:
    """The input whose memory an output shares; None if there is none, or if this version cannot
    report it.
    """
    if not tensorrt.features.aliased_tensors:
        return None
    return engine.get_aliased_input_tensor(output) or None
