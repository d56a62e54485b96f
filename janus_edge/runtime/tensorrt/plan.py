"""A plan file opened as an engine of TensorRT, held against the graph table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from janus_edge.engine_manifest import LanguagePlan
from janus_edge.errors import BackendError, EngineError
from janus_edge.graphs import Graph, Port, engine_signature, signature
from janus_edge.runtime.tensorrt import api
from janus_edge.runtime.tensorrt.appending import Appending
from janus_edge.runtime.tensorrt.environment import Environment
from janus_edge.runtime.tensorrt.execution import Execution, Launch, Place
from janus_edge.runtime.tensorrt.formats import Format, format_of
from janus_edge.runtime.tensorrt.objects import ICudaEngine
from janus_edge.runtime.tensorrt.plan_pages import mapped

Shape = tuple[int, ...]

#: Called before a plan is opened, and with the error if opening failed.
MakeRoom = Callable[["Plan", BackendError | None], bool]

#: The graphs of a captured painting step, in order; `language_model` has one new token.
STEP_GRAPHS = (
    Graph.IMAGE_EMBEDDING, Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD, Graph.GUIDED_SAMPLER,
)  # fmt: skip


class Plan:
    """One graph of an engine: its weights on the GPU, and a context per optimisation profile.

    ``signature`` is the graph table's, ``ports`` the engine's own (`graphs.engine_signature`). If they
    differ, each run is followed by a kernel that appends the new keys and values to the cache.

    :meth:`open` checks the file's hash, then the plan's inputs and outputs. ``entry`` identifies a plan of
    the language model. ``make_room`` is called before such a plan is opened, and again with the error if
    memory ran out; it returns whether to try opening (`language_plans.py`).
    """

    def __init__(
        self,
        environment: Environment,
        graph: Graph,
        entry: LanguagePlan | None = None,
        make_room: MakeRoom | None = None,
    ) -> None:
        self.environment, self.graph, self.entry = environment, graph, entry
        manifest = environment.folder.manifest
        self._file = entry.file if entry else manifest.graphs[graph.value].file
        self.path = environment.folder.path / self._file
        self.signature = signature(graph, manifest.config)
        self.ports = engine_signature(graph, manifest.config, manifest.target)
        self.formats: dict[str, Format] = {
            port.name: format_of(port.dtype, manifest.recipe.float_type)
            for port in (*self.signature.inputs, *self.signature.outputs, *self.ports.outputs)
        }
        self._make_room = make_room
        self._engine: ICudaEngine | None = None
        self._closed = False
        self._bounds: list[dict[str, tuple[Shape, Shape]]] = []
        self._executions: dict[int, Execution] = {}
        self._appending: Appending | None = None

    @property
    def is_open(self) -> bool:
        """Whether its weights are on the GPU."""
        return self._engine is not None

    def open(self) -> ICudaEngine:
        """Return the engine, and open it if needed.

        Raises EngineError, with the command that builds it again, or BackendError.
        """
        if self._closed:
            raise BackendError(f"{self.path}: was closed; bind the graph again")
        if self._engine is None:
            environment = self.environment
            environment.folder.file(self._file)  # checks its hash
            engine = self._deserialized()
            self._check_tensors(engine)
            self._bounds = _bounds(engine, self.signature.inputs)
            if self._appending is None and self.ports != self.signature:
                self._appending = Appending(self)
            self._engine = engine  # last, so that a plan that fails to open is not open
            environment.device.note_memory()  # TensorRT allocates weights itself
        return self._engine

    def release(self) -> None:
        """Wait for the GPU, then free the engine and its contexts until they are needed again."""
        if self._engine is not None:
            self.environment.device.stream.synchronize()
            self._free()

    def close(self) -> None:
        """Free the engine and its contexts; what was bound to it cannot be called any more."""
        self._closed = True
        self._free()

    def largest(self, name: str, axis: int) -> int:
        """The largest size of an input's axis in any profile."""
        self.open()
        return max(bounds[name][1][axis] for bounds in self._bounds)

    def launch(self, inputs: Mapping[str, Place], outputs: Mapping[str, Place]) -> Launch:
        """A run on memory of the GPU, which must stay where it is as long as it is launched.

        Names are the graph table's; present and past of a cache share the same place.
        Raises EngineError for shapes that the engine was not built for.
        """
        self.open()
        profile = self._profile({name: place.shape for name, place in inputs.items()})
        self.execution(profile)  # fails here rather than in the first run
        append = None
        if self._appending is not None:
            outputs, append = self._appending.bound(inputs, outputs)
        return Launch(self, profile, dict(inputs), dict(outputs), append)

    def execution(self, profile: int) -> Execution:
        """The context of an optimisation profile, made when it is first needed."""
        engine = self.open()
        if profile not in self._executions:
            self._executions[profile] = Execution(
                self, engine, profile, captured=self._is_step(profile)
            )
        return self._executions[profile]

    def _is_step(self, profile: int) -> bool:
        """Whether a painting step uses this profile; for the language model, that of one token."""
        if self.graph is not Graph.LANGUAGE_MODEL:
            return self.graph in STEP_GRAPHS
        return self._bounds[profile]["inputs_embeds"][1][1] == 1

    def _free(self) -> None:
        for execution in self._executions.values():
            execution.close()
        self._executions.clear()
        self._engine = None

    def _deserialized(self) -> ICudaEngine:
        """Load the engine from its file; may close other plans to free memory."""
        if self._make_room:
            self._make_room(self, None)
        try:
            return _deserialized(self.environment, self.path)
        except BackendError as failure:
            if not (self._make_room and self._make_room(self, failure)):
                raise
        return _deserialized(self.environment, self.path)

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
        modes = [(self.ports.inputs, "INPUT"), (self.ports.outputs, "OUTPUT")]
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
        if self.entry and "C" in port.shape:
            fixed.append((shape[port.shape.index("C")], self.entry.capacity))
        if len(shape) != len(port.shape) or any(given != dim for given, dim in fixed):
            raise self._not_this_graph(f"{name} has the shape {list(shape)} and not {port}")
        if name.startswith("present_"):
            past = api.aliased_input(self.environment.tensorrt, engine, name)
            if past != name.replace("present_", "past_", 1):
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
