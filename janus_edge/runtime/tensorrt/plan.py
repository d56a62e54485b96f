"""A plan file opened as an engine of TensorRT, held against the graph table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from janus_edge.engine import Engine
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph, Port, signature
from janus_edge.runtime.cuda.device import Device
from janus_edge.runtime.tensorrt import api
from janus_edge.runtime.tensorrt.execution import Execution, Launch, Place
from janus_edge.runtime.tensorrt.formats import Format, format_of
from janus_edge.runtime.tensorrt.kernel_cache import KernelCache
from janus_edge.runtime.tensorrt.messages import Messages
from janus_edge.runtime.tensorrt.objects import ICudaEngine, Runtime
from janus_edge.runtime.tensorrt.plan_pages import mapped
from janus_edge.runtime.tensorrt.scratch import Scratch
from janus_edge.weight_streaming import budget

_LOG = logging.getLogger(__name__)

Shape = tuple[int, ...]

#: The graphs of a step of painting, in order; it is captured, `language_model` in its last profile.
STEP_GRAPHS = (
    Graph.IMAGE_EMBEDDING, Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD, Graph.GUIDED_SAMPLER,
)  # fmt: skip


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


class Plan:
    """One graph of an engine: its weights on the GPU, and a context per optimisation profile.

    Opening checks the file's hash, then that the plan has the graph's inputs and outputs. Raises
    EngineError, with the command that builds the engine again, or BackendError.
    """

    def __init__(self, environment: Environment, graph: Graph) -> None:
        self.environment, self.graph = environment, graph
        manifest = environment.folder.manifest
        self.path = environment.folder.graph(graph)
        self.signature = signature(graph, manifest.config)
        self.formats: dict[str, Format] = {
            port.name: format_of(port.dtype, manifest.recipe.float_type)
            for port in (*self.signature.inputs, *self.signature.outputs)
        }
        self._engine: ICudaEngine | None = _deserialized(environment, self.path)
        self._check_tensors(self._engine)
        #: Bytes of weights that are copied to the GPU in every run.
        self.streamed_bytes = self._limit_weights(self._engine)
        self._bounds = _bounds(self._engine, self.signature.inputs)
        self._executions: dict[int, Execution] = {}

    def close(self) -> None:
        """Free the engine and its contexts; what was bound to it cannot be called any more."""
        for execution in self._executions.values():
            execution.close()
        self._executions.clear()
        self._engine = None

    def largest(self, name: str, axis: int) -> int:
        """The largest size of an input's axis in any profile."""
        return max(bounds[name][1][axis] for bounds in self._bounds)

    def launch(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Launch:
        """A run on memory of the GPU, which must stay where it is as long as it is launched.

        Raises EngineError for shapes that the engine was not built for.
        """
        profile = self._profile({name: place.shape for name, place in inputs.items()})
        return Launch(self._execution(profile), dict(inputs), dict(outputs))

    def _limit_weights(self, engine: ICudaEngine) -> int:
        """Set the budget of weight streaming that the engine was built with, if any."""
        limit = budget(self.environment.folder.manifest.options)
        if limit is None or self.graph is not Graph.LANGUAGE_MODEL:
            return 0
        streamed = api.limit_weights(engine, limit)
        if streamed is None:
            tool = str(self.environment.tensorrt)
            doing = f"setting a budget of {limit} bytes for its weights"
            raise self.environment.messages.run_error(tool, self.path, doing)
        _LOG.info("%s: %.0f MiB of weights are streamed", self.path, streamed / 2**20)
        return streamed

    def _execution(self, profile: int) -> Execution:
        assert self._engine is not None
        if profile not in self._executions:
            captured = self.graph in STEP_GRAPHS and profile == len(self._bounds) - 1
            self._executions[profile] = Execution(self, self._engine, profile, captured=captured)
        return self._executions[profile]

    def _profile(self, shapes: Mapping[str, Shape]) -> int:
        """The profile that takes these shapes; of several the last, which is the narrowest."""
        refused = ""
        for profile in reversed(range(len(self._bounds))):
            wrong = [
                n for n, shape in shapes.items() if not _within(shape, self._bounds[profile][n])
            ]
            if not wrong:
                return profile
            smallest, largest = self._bounds[profile][wrong[0]]
            refused = f"{wrong[0]} of {list(smallest)} to {list(largest)}"
            found = list(shapes[wrong[0]])
        folder = self.environment.folder
        raise EngineError(
            f"{self.path}: was built for {refused}, found {found}; ask for less at once, or build it "
            f"again for more with  {folder.rebuild_command}"
        )

    def _check_tensors(self, engine: ICudaEngine) -> None:
        """Raise EngineError unless the engine is one of this graph."""
        names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        modes = [(self.signature.inputs, "INPUT"), (self.signature.outputs, "OUTPUT")]
        wanted = {port.name for ports, _ in modes for port in ports}
        if names != wanted:
            raise self._not_this_graph(f"has other tensors: {', '.join(sorted(names ^ wanted))}")
        for ports, mode in modes:
            for port in ports:
                self._check_tensor(engine, port, mode)

    def _check_tensor(self, engine: ICudaEngine, port: Port, mode: str) -> None:
        name, member = port.name, self.formats[port.name].member
        found = (
            engine.get_tensor_mode(name).name,
            engine.get_tensor_dtype(name).name,
            engine.get_tensor_location(name).name,
        )
        if found != (mode, member, "DEVICE"):
            raise self._not_this_graph(
                f"{name} is {' '.join(found)} and not {mode} {member} DEVICE"
            )
        shape = tuple(engine.get_tensor_shape(name))
        fixed = [
            (given, dim)
            for given, dim in zip(shape, port.shape, strict=False)
            if given >= 0 and isinstance(dim, int)
        ]
        if len(shape) != len(port.shape) or any(given != dim for given, dim in fixed):
            raise self._not_this_graph(f"{name} has the shape {list(shape)} and not {port}")
        if name.startswith("present_"):
            past = api.aliased_input(self.environment.tensorrt, engine, name)
            # ScatterND into its own input is right (`engines/lowering/primitive_scatter.py`), but
            # no version declares it
            undeclared = past is None and self.environment.folder.manifest.target == "tensorrt-10.3"
            if past != name.replace("present_", "past_", 1) and not undeclared:
                raise self._not_this_graph(f"{name} is not {past} updated in place")

    def _not_this_graph(self, reason: str) -> EngineError:
        return EngineError(
            f"{self.path}: is no engine of {self.graph.value} ({reason}); build it again with  "
            f"{self.environment.folder.rebuild_command}"
        )


def _deserialized(environment: Environment, path: Path) -> ICudaEngine:
    """The engine of a plan file, which is read as it is needed and not kept in memory."""
    assert environment.runtime is not None  # the environment is open
    with mapped(path, give_up=environment.device.integrated) as plan:
        engine = environment.runtime.deserialize_cuda_engine(plan)
    if engine is None:
        # a CUDA error that lasts is the better reason
        environment.device.stream.synchronize()
        raise environment.messages.open_error(
            str(environment.tensorrt), path, environment.folder.rebuild_command
        )
    return engine


def _bounds(engine: ICudaEngine, inputs: tuple[Port, ...]) -> list[dict[str, tuple[Shape, Shape]]]:
    """Smallest and largest shape of every input, per profile."""
    found = []
    for profile in range(engine.num_optimization_profiles):
        bounds = {}
        for port in inputs:
            shape = tuple(engine.get_tensor_shape(port.name))
            bounds[port.name] = (shape, shape)
            if -1 in shape:  # only these are the profiles' matter
                smallest, _, largest = engine.get_tensor_profile_shape(port.name, profile)
                bounds[port.name] = (tuple(smallest), tuple(largest))
        found.append(bounds)
    return found


def _within(shape: Shape, bounds: tuple[Shape, Shape]) -> bool:
    return len(shape) == len(bounds[0]) and all(
        low <= size <= high for low, size, high in zip(bounds[0], shape, bounds[1], strict=True)
    )
