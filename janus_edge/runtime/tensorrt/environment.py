"""Everything that the plans of an engine folder share, such as the GPU and TensorRT's runtime."""

from __future__ import annotations

from dataclasses import dataclass

from janus_edge.engine import Engine
from janus_edge.runtime.cuda.device import Device
from janus_edge.runtime.tensorrt import api
from janus_edge.runtime.tensorrt.kernel_cache import KernelCache
from janus_edge.runtime.tensorrt.messages import Messages
from janus_edge.runtime.tensorrt.objects import Runtime
from janus_edge.runtime.tensorrt.scratch import Scratch


@dataclass(slots=True)
class Environment:
    """The shared state of one engine folder's plans."""

    folder: Engine
    tensorrt: api.TensorRT
    runtime: Runtime | None  # None once closed
    logger: object  # lives as long as the runtime
    messages: Messages
    device: Device
    scratch: Scratch
    kernels: KernelCache

    def close(self) -> None:
        """Free TensorRT's runtime, then the GPU; every plan must be closed first.

        The runtime and its compiled kernels live in the GPU's context, so they are freed first. Anything
        that still references a plan references this object too, so freeing must not wait for that.
        """
        self.kernels.close()
        self.runtime = None
        self.device.close()
