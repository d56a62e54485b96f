"""An execution context with one optimisation profile, and runs of it on given memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import ref

from janus_edge.errors import BackendError
from janus_edge.runtime.cuda.device import DeviceBuffer
from janus_edge.runtime.tensorrt import api
from janus_edge.runtime.tensorrt.objects import ICudaEngine, IExecutionContext

if TYPE_CHECKING:
    from janus_edge.runtime.tensorrt.plan import Plan


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies on the GPU, and its shape; it keeps the memory."""

    buffer: DeviceBuffer
    shape: tuple[int, ...]

    @property
    def address(self) -> int:
        """Of its first value."""
        return self.buffer.address


class Launch:
    """A run of a plan with fixed shapes and addresses; calling it queues the run.

    ``then`` queues the work that follows each run. A plan that was closed to free memory is opened
    again. Raises BackendError with TensorRT's message.
    """

    def __init__(
        self,
        plan: Plan,
        profile: int,
        inputs: dict[str, Place],
        outputs: dict[str, Place],
        then: Callable[[], None] | None = None,
    ) -> None:
        self.plan, self._profile, self.inputs, self.outputs = plan, profile, inputs, outputs
        self._then = then

    @property
    def execution(self) -> Execution:
        """The context that runs it; a new one after the plan was opened again."""
        return self.plan.execution(self._profile)

    def __call__(self) -> None:
        """Queue the run."""
        self.execution.run(self)
        if self._then is not None:
            self._then()


#: Revisions are unique across all contexts.
_REVISIONS = itertools.count(1)


class Execution:
    """One context; ``revision`` changes whenever its shapes or addresses change.

    Contexts of one engine share its weights. Scratch memory is shared by all contexts of all
    engines, since they run one after the other on one stream.
    """

    def __init__(
        self, plan: Plan, engine: ICudaEngine, profile: int, *, captured: bool = False
    ) -> None:
        self._plan, self._environment = plan, plan.environment
        self._varying = [
            port.name for port in plan.signature.inputs if -1 in engine.get_tensor_shape(port.name)
        ]
        self.revision = next(_REVISIONS)
        self._bound: ref[Launch] | None = None  # weak: callers own its memory
        self._generation = -1  # of the scratch memory that the context was given
        self._context: IExecutionContext | None = None
        environment, stream = self._environment, self._environment.device.stream
        context = api.new_context(
            environment.tensorrt, engine, captured=captured, kernels=environment.kernels
        )
        if context is None:
            stream.synchronize()
            raise self._error("making an execution context")
        try:
            context.set_optimization_profile_async(profile, stream.handle)
        except RuntimeError as failure:  # the bindings raise, they never return False
            environment.messages.errors.append(str(failure))
            stream.synchronize()  # raises a sticky CUDA error, the better reason, if there is one
            raise self._error(f"choosing optimisation profile {profile}") from failure
        stream.synchronize()
        #: Most bytes of scratch memory that a run takes: less for one token than for a prefill.
        self.scratch_bytes = engine.get_device_memory_size_for_profile_v2(profile)
        self._context = context

    def check_capturable(self) -> None:
        """Raise BackendError if this version tells that a run cannot be captured."""
        stream = self._environment.device.stream.handle
        if not api.can_be_captured(self._environment.tensorrt, self._opened(), stream):
            raise BackendError(
                f"{self._plan.path}: {self._environment.tensorrt} cannot capture its runs in a CUDA "
                "graph; run without one: --no-cuda-graph"
            )

    def run(self, launch: Launch) -> None:
        """Queue one run; shapes and addresses are set if the last run had others."""
        context, scratch = self._opened(), self._environment.scratch
        if self._generation != scratch.generation:
            memory = scratch.reserve(self.scratch_bytes)
            context.set_device_memory(memory.address, memory.nbytes)
            self._generation = scratch.generation
        try:
            if self._bound is None or self._bound() is not launch:
                self._bind(context, launch)
            done = context.execute_async_v3(self._environment.device.stream.handle)
        except RuntimeError as failure:  # of the bindings
            self._environment.messages.errors.append(str(failure))
            done = False
        if not done:
            self._bound = None
            if not self._environment.device.stream.capturing:
                # raises a sticky CUDA error, the better reason, if there is one
                self._environment.device.stream.synchronize()
            raise self._error("queuing a run")

    def close(self) -> None:
        """Free the context; a later run raises BackendError."""
        self._context, self._bound = None, None

    def _bind(self, context: IExecutionContext, launch: Launch) -> None:
        self._bound = None
        self.revision = next(_REVISIONS)
        for name in self._varying:
            if not context.set_input_shape(name, launch.inputs[name].shape):
                raise self._error(f"setting {name} to {list(launch.inputs[name].shape)}")
        lacking = context.infer_shapes()
        if lacking:
            raise self._error(f"finding shapes: {', '.join(lacking)} lack theirs")
        for name, place in launch.outputs.items():
            shape = tuple(context.get_tensor_shape(name))
            if shape != place.shape:
                raise BackendError(
                    f"{self._plan.path}: {name} has the shape {list(shape)}, and the buffer given "
                    f"for it {list(place.shape)}; this is a mistake in janus-edge: please report it"
                )
        for name, place in (*launch.inputs.items(), *launch.outputs.items()):
            if not context.set_tensor_address(name, place.address):
                raise self._error(f"setting the address of {name}")
        self._bound = ref(launch)

    def _opened(self) -> IExecutionContext:
        if self._context is None:
            raise BackendError(f"{self._plan.path}: was closed; bind the graph again")
        return self._context

    def _error(self, doing: str) -> BackendError:
        tool = str(self._environment.tensorrt)
        return self._environment.messages.run_error(tool, self._plan.path, doing)
