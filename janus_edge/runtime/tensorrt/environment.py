"""The GPU, TensorRT's runtime on it, and what else the plans of one engine folder share."""

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
    """What the plans of one engine folder share."""

    folder: Engine
    tensorrt: api.TensorRT
    runtime: Runtime | None  # None once closed
    logger: object  # lives as long as the runtime
    messages: Messages
    device: Device
    scratch: Scratch
    kernels: KernelCache

    def close(self) -> None:
        """Free TensorRT's runtime, then the GPU; every plan must have been closed before.

        The runtime and what it compiled live in the GPU's context, so they go first. Whatever still
        holds a plan holds this, too: they are given up here and not left to the last holder.
        """
        self.kernels.close()
        self.runtime = None
        self.device.close()
