"""TensorRT and TensorRT-RTX for running; how their versions differ is known here alone.

None of it has run on a GPU. What the versions have is known from a recorded table of their bindings
(`tests/contract/tensorrt_api.json`).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from janus_edge.errors import BackendError, DependencyError
from janus_edge.runtime.tensorrt.objects import (
    ICudaEngine,
    IExecutionContext,
    IRuntimeConfig,
    Runtime,
)

#: Python module, name and the extra that installs it, per target; must equal those that
#: `engines/tensorrt/api.py` builds with.
MODULES = {
    "tensorrt": ("tensorrt", "TensorRT", "tensorrt"),
    "tensorrt-10.3": ("tensorrt", "TensorRT", "tensorrt"),
    "tensorrt-rtx": ("tensorrt_rtx", "TensorRT-RTX", "rtx"),
}


@dataclass(frozen=True, slots=True)
class Features:
    """What a version has that others lack; nothing else asks for versions.

    ``aliased_tensors``: an engine tells which output shares the memory of an input (10.15).
    ``just_in_time``: kernels are compiled for shapes when they are first met, and a context tells
    whether it can be captured (TensorRT-RTX).
    """

    aliased_tensors: bool
    just_in_time: bool


def features(trt: Any) -> Features:
    """What the module ``trt`` has."""

    def has(name: str) -> bool:
        owner = trt
        for part in name.split("."):
            owner = getattr(owner, part, None)
        return owner is not None

    return Features(
        aliased_tensors=has("ICudaEngine.get_aliased_input_tensor"),
        just_in_time=has("IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy")
        and has("IRuntimeConfig.set_execution_context_allocation_strategy")
        and has("ICudaEngine.create_runtime_config")
        and has("IExecutionContext.is_stream_capturable"),
    )


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
        """What an engine's manifest calls it among the tools that it was built with."""
        return self.name.lower()


def load(target: str) -> TensorRT:
    """Import the TensorRT that runs engines of ``target``, one of MODULES.

    Raises DependencyError where it is not installed or does not import.
    """
    module, name, extra = MODULES[target]
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
    tensorrt: TensorRT, engine: ICudaEngine, *, captured: bool
) -> IExecutionContext | None:
    """A context that is given its scratch memory; None where TensorRT cannot make one.

    Where kernels are compiled as shapes are met, one that is ``captured`` waits for them in its
    first run, since nothing can be compiled during a capture; others compile in the background.
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
    return engine.create_execution_context(config)


def can_be_captured(tensorrt: TensorRT, context: IExecutionContext, stream: int) -> bool:
    """Whether a run can be recorded in a CUDA graph, as far as this version tells."""
    return not tensorrt.features.just_in_time or context.is_stream_capturable(stream)


def aliased_input(tensorrt: TensorRT, engine: ICudaEngine, output: str) -> str | None:
    """The input whose memory an output shares; None where there is none.

    TensorRT 10.3 cannot tell; what its engines update they are taken to update in place.
    """
    if not tensorrt.features.aliased_tensors:
        return output.replace("present_", "past_", 1)
    return engine.get_aliased_input_tensor(output) or None
