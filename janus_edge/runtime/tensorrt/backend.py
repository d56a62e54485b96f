"""TensorRT and TensorRT-RTX as a backend: an engine folder on one GPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from janus_edge.compute_capability import built_by_rtx, target_instead
from janus_edge.config import JanusConfig
from janus_edge.engine import AHEAD_OF_TIME, Engine
from janus_edge.errors import EngineError, InputError
from janus_edge.graphs import Graph
from janus_edge.runtime.cuda.bandwidth import copy_bandwidth
from janus_edge.runtime.cuda.device import Device
from janus_edge.runtime.image_decoding import ImageRequest
from janus_edge.runtime.tensorrt import api
from janus_edge.runtime.tensorrt.environment import Environment
from janus_edge.runtime.tensorrt.formats import format_of
from janus_edge.runtime.tensorrt.image_loop import ImageLoop
from janus_edge.runtime.tensorrt.kernel_cache import KernelCache
from janus_edge.runtime.tensorrt.language_plans import LanguagePlans
from janus_edge.runtime.tensorrt.language_session import LanguageModelSession
from janus_edge.runtime.tensorrt.messages import Messages
from janus_edge.runtime.tensorrt.plan import Plan
from janus_edge.runtime.tensorrt.scratch import Scratch
from janus_edge.runtime.tensorrt.session import TensorRTSession

_LOG = logging.getLogger(__name__)


class TensorRTBackend:
    """Graphs of an engine, opened as they are asked for; painting runs on the GPU as a whole.

    ``cuda_graph`` captures a step of painting and replays it; codes are fetched every
    ``fetch_every`` steps. Raises DependencyError without TensorRT, EngineError for an engine of
    another version or GPU, with the command that builds it again, and BackendError without a GPU.
    """

    def __init__(self, engine: Engine, *, cuda_graph: bool = True, fetch_every: int = 8) -> None:
        if fetch_every < 1:
            raise InputError(f"fetch_every must be at least 1, found {fetch_every}")
        self._engine, self.cuda_graph, self.fetch_every = engine, cuda_graph, fetch_every
        self._tensorrt = api.load(engine.manifest.target)
        engine.check_tool(self._tensorrt.tool, self._tensorrt.version)
        engine.check_options()
        self.float_dtype = format_of("float", engine.manifest.recipe.float_type).host
        self._plans: dict[Graph, Plan] = {}
        self._language: LanguagePlans | None = None
        self._sessions: dict[Graph, TensorRTSession | LanguageModelSession] = {}
        self._environment: Environment | None = None
        self.environment()

    def environment(self) -> Environment:
        """The GPU and TensorRT's runtime on it, opened at the first call."""
        if self._environment is None:
            device, messages = Device(), Messages()
            try:
                self._check_capability(device)
                logger = messages.logger(self._tensorrt.module)
                runtime = api.new_runtime(self._tensorrt, logger)
            except BaseException:
                device.close()
                raise
            ingredients = (
                self._engine.manifest.key, self._tensorrt.tool, self._tensorrt.version, device.name,
                device.compute_capability,
            )  # fmt: skip
            self._environment = Environment(
                self._engine, self._tensorrt, runtime, logger, messages, device, Scratch(device),
                KernelCache(ingredients, messages),
            )  # fmt: skip
        return self._environment

    def plan(self, graph: Graph) -> Plan:
        """The plan of ``graph``, opened (and its file verified) at the first call.

        For the language model, the plan of the smallest capacity; :meth:`language_plans` has all.
        """
        environment = self.environment()
        environment.device.make_current()
        if graph is Graph.LANGUAGE_MODEL:
            plan = self.language_plans().first
        else:
            if graph not in self._plans:
                self._plans[graph] = Plan(environment, graph)
            plan = self._plans[graph]
        plan.open()
        return plan

    def language_plans(self) -> LanguagePlans:
        """The plans of the language model; this opens none of them."""
        if self._language is None:
            self._language = LanguagePlans(self.environment())
        return self._language

    def session(self, graph: Graph) -> TensorRTSession | LanguageModelSession:
        """As :meth:`Backend.session`."""
        if graph not in self._sessions:
            self._sessions[graph] = (
                self.language_model()
                if graph is Graph.LANGUAGE_MODEL
                else TensorRTSession(self.plan(graph))
            )
        return self._sessions[graph]

    def language_model(self) -> LanguageModelSession:
        """The session of `language_model`; the cache's size decides which plan is opened."""
        plans = self.language_plans()
        if len(plans) == 1:
            self.plan(Graph.LANGUAGE_MODEL)
        return LanguageModelSession(plans)

    def image_codes(
        self, config: JanusConfig, request: ImageRequest
    ) -> Iterator[NDArray[np.int64]]:
        """The codes [P] of every position in turn, as the loop over sessions finds them."""
        return ImageLoop(config, self, request).codes()

    def device_memory_peak(self) -> int:
        """Bytes of the GPU's memory at most, since it was opened; other processes' count, too."""
        device = self.environment().device
        device.make_current()
        device.note_memory()
        return device.peak

    def read_bandwidth(self) -> float:
        """Bytes per second that the GPU's memory gives, measured now by a copy on the device."""
        device = self.environment().device
        device.make_current()
        return copy_bandwidth(device)

    def close(self) -> None:
        """Free the engines and all memory of the GPU; a later call opens them again.

        A conversation's cache is gone with it.
        """
        plans: list[Plan | LanguagePlans] = [*self._plans.values()]
        plans += [self._language] if self._language else []
        environment = self._environment
        self._plans.clear()
        self._language = None
        self._sessions.clear()
        self._environment = None
        if environment is None:
            return
        try:
            if not environment.device.driver.lost:
                environment.device.make_current()
                environment.device.stream.synchronize()  # contexts may still be running
                environment.kernels.keep()
        finally:
            for plan in plans:
                plan.close()
            environment.close()

    def _check_capability(self, device: Device) -> None:
        built = self._engine.manifest.compute_capability
        found = device.compute_capability
        if built is not None and found not in built.replace(",", " ").split():
            advice = self._engine.rebuild_advice(found)
            if self._engine.manifest.target in AHEAD_OF_TIME and not built_by_rtx(found):
                instead = target_instead(found)
                again = self._engine.rebuild_advice(found, instead.split()[0])
                advice = f"TensorRT-RTX does not build for this GPU, {instead} does; {again}"
            raise EngineError(
                f"{self._engine.path}: was built for compute capability {built} and this machine's "
                f"{device.name} has {found}; {advice}"
            )
        # TensorRT's plans, whose builder measured kernels, name it; TensorRT-RTX' are for any
        gpu = self._engine.manifest.tools.get("gpu", device.name)
        if gpu != device.name:
            _LOG.warning(
                "%s: was built on a GPU of the name %s, and this is %s: it may be slower than it could, "
                "or fail; build it again with  %s",
                self._engine.path, gpu, device.name, self._engine.rebuild_command_for(found),
            )  # fmt: skip
