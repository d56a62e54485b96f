"""A TensorRT module without a GPU, on the memory of a :class:`FakeDriver`.

Its classes have the members that the recorded table gives those of the version, and no others: a
call of anything else fails as it would there. A plan is JSON that holds the tensors, the profiles
and what computes them: a network of NVIDIA's parser (`parsed_plans`), or a numpy function. Runs are
queued on the fake's stream and captured by it. What TensorRT would do wrong silently is an error.
"""

from __future__ import annotations

import ctypes
import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.unit.runtime.cuda.fake_driver import FakeDriver, LostError

TABLE = json.loads(
    (Path(__file__).parents[3] / "contract" / "tensorrt_api.json").read_text("utf-8")
)["classes"]

DTYPES = {"FLOAT": np.float32, "HALF": np.float16, "BF16": np.uint16, "INT64": np.int64}

Arrays = dict[str, np.ndarray]
#: graph name -> what computes it, on inputs and outputs by name
Functions = Mapping[str, Callable[[Arrays, Arrays], None]]


def members(version: str, name: str) -> set[str]:
    """The members of a class in that version; none where it has no such class."""
    found = TABLE[name]
    if version not in found["in"]:
        return set()
    return {*found["always"], *(m for m, where in found["sometimes"].items() if version in where)}


@dataclass
class Behaviour:
    """What goes wrong: ``fail`` names the calls that fail, with what they log.

    ``aliases`` is what an output is said to share the memory of; None for its own past.
    """

    fail: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str | None] = field(default_factory=dict)
    tensors: dict[str, dict[str, Any]] = field(default_factory=dict)
    capturable: bool = True
    #: what runs asked for, one entry each: graph, profile, shapes of the inputs
    runs: list[tuple[str, int, dict[str, tuple[int, ...]]]] = field(default_factory=list)
    contexts: int = 0
    #: the opened plans, in order
    opened: list[str] = field(default_factory=list)
    #: what was compiled, one entry each: graph, profile, shapes
    compiled: list[str] = field(default_factory=list)


class Enum:
    """The members of an enum; each has a ``name``, and its class the others."""

    def __init__(self, name: str) -> None:
        self.name = name


def enum(*names: str) -> Any:
    made = type("Enum", (Enum,), {})
    for name in names:
        setattr(made, name, made(name))
    return made


class Limited:
    """Takes no public attribute that the class has not."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in type(self)._members:  # type: ignore[attr-defined]
            raise AttributeError(f"{type(self).__name__} has no {name}")
        object.__setattr__(self, name, value)


def limited(kind: type, version: str, name: str) -> type:
    """``kind`` with the public members alone that the class ``name`` has in that version."""
    known = members(version, name)
    everywhere = {*TABLE[name]["always"], *TABLE[name]["sometimes"]}
    given = {m: v for m, v in vars(kind).items() if m not in ("__dict__", "__weakref__")}
    public = {member for member in given if not member.startswith("_")}
    assert public <= everywhere, f"{name}: {public - everywhere} is in no version"
    kept = {m: v for m, v in given.items() if m.startswith("_") or m in known}
    return type(name, (Limited,), {**kept, "_members": known})


def fake_module(
    driver: FakeDriver,
    *,
    version: str = "10.16",
    functions: Functions | None = None,
    behaviour: Behaviour | None = None,
) -> Any:
    """A module as `tensorrt` or `tensorrt_rtx` of ``version``, as the table calls it."""
    does = behaviour or Behaviour()
    just_in_time = version.startswith("rtx")
    module = SimpleNamespace(
        __version__={"10.3": "10.3.0", "rtx-1.7": "1.7.1.116"}.get(version, f"{version}.1"),
        behaviour=does,
        ExecutionContextAllocationStrategy=enum("STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED"),
    )
    severity = enum("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
    modes, dtypes = enum("INPUT", "OUTPUT"), enum(*DTYPES)
    locations, kernels = enum("DEVICE", "HOST"), enum("LAZY", "EAGER", "NONE")

    class Logger:
        def __init__(self) -> None:
            self._ready = True

    def fails(call: str, runtime: Any) -> bool:
        told = does.fail.get(call)
        if told is not None:
            runtime._logger.log(severity.INFO, "not an error")
            runtime._logger.log(severity.ERROR, told)
        return told is not None

    class Runtime:
        def __init__(self, logger: Any) -> None:
            assert logger._ready, "the logger's own constructor was not called"
            assert driver._usable(), "a runtime without a GPU ends the process"
            if "Runtime" in does.fail:
                raise TypeError(does.fail["Runtime"])
            self._logger = logger
            driver.admit(self, "runtime")

        def deserialize_cuda_engine(self, serialized: Any) -> Any:
            plan = json.loads(bytes(memoryview(serialized)))
            if fails("deserialize", self):
                return None
            weights = driver.reserve(plan["weights"])
            if weights is None:
                self._logger.log(severity.ERROR, "CUDA initialization failure: out of memory")
                return None
            does.opened.append(plan.get("name", plan["graph"]))
            return module.ICudaEngine(self, plan, weights)

    class CudaEngine:
        def __init__(self, runtime: Any, plan: dict[str, Any], weights: int) -> None:
            self._runtime, self._plan = runtime, plan
            self._end = weakref.finalize(self, driver.memory.pop, weights)
            driver.admit(self, "engine")
            self._tensors = {
                n: {**t, **does.tensors.get(n, {})} for n, t in plan["tensors"].items()
            }

        @property
        def num_io_tensors(self) -> int:
            return len(self._tensors)

        @property
        def num_optimization_profiles(self) -> int:
            return len(self._plan["profiles"])

        @property
        def device_memory_size_v2(self) -> int:
            return max(self._scratches())

        def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
            return self._scratches()[profile_index]

        def _scratches(self) -> list[int]:
            """Return the scratch memory by profile; a plan may state one size for all of them."""
            told, profiles = self._plan["scratch"], self._plan["profiles"]
            return told if isinstance(told, list) else [told] * len(profiles)

        def get_tensor_name(self, index: int) -> str:
            return [*self._tensors][index]

        def get_tensor_mode(self, name: str) -> Any:
            return getattr(modes, self._tensors[name]["mode"])

        def get_tensor_dtype(self, name: str) -> Any:
            return getattr(dtypes, self._tensors[name]["dtype"])

        def get_tensor_location(self, name: str) -> Any:
            return getattr(locations, self._tensors[name].get("location", "DEVICE"))

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(d if isinstance(d, int) else -1 for d in self._tensors[name]["shape"])

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            assert -1 in self.get_tensor_shape(name)
            return [tuple(shape) for shape in self._plan["profiles"][profile_index][name]]

        def get_aliased_input_tensor(self, name: str) -> str | None:
            if not name.startswith("present_"):
                return None
            return does.aliases.get(name, name.replace("present_", "past_"))

        def create_runtime_config(self) -> Any:
            return module.IRuntimeConfig()

        def create_execution_context(self, strategy: Any) -> Any:
            eager, cache = False, None
            if just_in_time and isinstance(strategy, module.IRuntimeConfig):
                eager = strategy.dynamic_shapes_kernel_specialization_strategy is kernels.EAGER
                cache = strategy._cache
                strategy = strategy._strategy
            managed = module.ExecutionContextAllocationStrategy.USER_MANAGED
            assert strategy is managed, "the context would take scratch memory of its own"
            if fails("create_execution_context", self._runtime):
                return None
            return module.IExecutionContext(self, eager, cache)

    class RuntimeCache:
        def __init__(self) -> None:
            self._kernels: set[str] = set()
            driver.admit(self, "kernels")

        def serialize(self) -> Any:
            if "serialize" in does.fail:
                return None
            return np.frombuffer(json.dumps(sorted(self._kernels)).encode(), np.uint8)

        def deserialize(self, blob: bytes) -> bool:
            assert driver._usable(), "without a current context nothing can be checked"
            if "deserialize_cache" in does.fail:
                return False
            self._kernels.update(json.loads(bytes(blob)))
            return True

    class RuntimeConfig:
        dynamic_shapes_kernel_specialization_strategy = kernels.LAZY

        def __init__(self) -> None:
            self._strategy = module.ExecutionContextAllocationStrategy.STATIC
            self._cache: Any = None

        def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
            self._strategy = strategy

        def create_runtime_cache(self) -> Any:
            return module.IRuntimeCache()

        def set_runtime_cache(self, cache: Any) -> bool:
            if "set_runtime_cache" in does.fail:
                return False
            self._cache = cache
            return True

    class ExecutionContext:
        def __init__(self, engine: Any, eager: bool, cache: Any) -> None:
            does.contexts += 1
            self._cache = cache
            self._engine, self._eager, self._profile = engine, eager, -1
            self._end = weakref.finalize(self, _one_less, does)
            driver.admit(self, "context")
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            self._scratch, self._warm = (0, 0), False

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            if fails("set_optimization_profile_async", self._engine._runtime):
                raise RuntimeError("Error in set optimization profile async.")
            assert stream_handle in driver.streams
            self._profile = profile_index
            return True

        def set_device_memory(self, memory: int, size: int) -> None:
            assert memory % 256 == 0
            assert size >= self._engine.get_device_memory_size_for_profile_v2(self._profile)
            self._scratch = (memory, size)

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self._warm = False
            if fails("set_input_shape", self._engine._runtime):
                return False
            low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
            self._shapes[name] = shape
            return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._warm = False
            self._addresses[name] = memory
            return not fails("set_tensor_address", self._engine._runtime)

        def infer_shapes(self) -> Sequence[str]:
            if "infer_shapes" in does.fail:
                raise RuntimeError(does.fail["infer_shapes"])
            varying = [n for n in self._inputs() if -1 in self._engine.get_tensor_shape(n)]
            return [n for n in varying if n not in self._shapes]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            sizes = self._sizes()
            return tuple(
                d if isinstance(d, int) else sizes[d] for d in self._engine._tensors[name]["shape"]
            )

        def is_stream_capturable(self, stream: int) -> bool:
            assert stream in driver.streams
            return does.capturable and self._eager

        def execute_async_v3(self, stream_handle: int) -> bool:
            runtime, plan = self._engine._runtime, self._engine._plan
            if fails("execute_async_v3", runtime):
                return False
            if driver.capturing(stream_handle):
                if not self._warm or (just_in_time and not self._eager):
                    driver._forbidden()  # it allocates or compiles
                    runtime._logger.log(severity.ERROR, "allocation while capturing")
                    return False
                if fails("capture", runtime):
                    return False
            self._warm = True
            if just_in_time:
                kernel = json.dumps([plan["graph"], self._profile, sorted(self._shapes.items())])
                known = set() if self._cache is None else self._cache._kernels
                if kernel not in known:
                    does.compiled.append(kernel)
                    known.add(kernel)
            shapes = {name: self.get_tensor_shape(name) for name in self._engine._tensors}
            for name in shapes:
                if name.startswith("present_"):
                    past = name.replace("present_", "past_")
                    assert self._addresses[name] == self._addresses[past], "not in place"
            addresses, scratch = dict(self._addresses), self._scratch
            kinds = {n: np.dtype(DTYPES[t["dtype"]]) for n, t in self._engine._tensors.items()}
            inputs, profile, context = self._inputs(), self._profile, weakref.ref(self)

            def run() -> None:
                if context() is None:
                    raise LostError(700)  # its kernels and weights are gone
                does.runs.append((plan["graph"], profile, {n: shapes[n] for n in inputs}))
                places = [scratch]
                arrays = {}
                for name, shape in shapes.items():
                    nbytes = int(np.prod(shape)) * kinds[name].itemsize
                    places.append((addresses[name], nbytes))
                driver._inside(*places)
                for (address, nbytes), (name, shape) in zip(
                    places[1:], shapes.items(), strict=True
                ):
                    block = (ctypes.c_ubyte * nbytes).from_address(address)
                    arrays[name] = np.frombuffer(memoryview(block), kinds[name]).reshape(shape)
                ctypes.memset(scratch[0], 0xEE, scratch[1])
                _compute(plan, arrays, inputs, functions or {})

            driver.enqueue(stream_handle, run)
            return True

        def _inputs(self) -> list[str]:
            return [n for n, t in self._engine._tensors.items() if t["mode"] == "INPUT"]

        def _sizes(self) -> dict[str, int]:
            """The sizes of the symbols, from the inputs' shapes."""
            found: dict[str, int] = {}
            for name in self._inputs():
                for dim, size in zip(
                    self._engine._tensors[name]["shape"], self._shapes.get(name, ()), strict=False
                ):
                    if isinstance(dim, str):
                        found[dim] = size
                        found.update({"P": size // 2} if dim == "2P" else {"2P": 2 * size})
            return found

    module.ILogger = limited(Logger, version, "ILogger")
    module.Runtime = limited(Runtime, version, "Runtime")
    module.ICudaEngine = limited(CudaEngine, version, "ICudaEngine")
    module.IExecutionContext = limited(ExecutionContext, version, "IExecutionContext")
    if members(version, "IRuntimeConfig"):
        module.IRuntimeConfig = limited(RuntimeConfig, version, "IRuntimeConfig")
    if members(version, "IRuntimeCache"):
        module.IRuntimeCache = limited(RuntimeCache, version, "IRuntimeCache")
    return module


def _one_less(does: Behaviour) -> None:
    does.contexts -= 1


def _compute(plan: dict[str, Any], arrays: Arrays, inputs: list[str], functions: Functions) -> None:
    """Run a plan on the arrays, its outputs in place."""
    halves = [name for name, array in arrays.items() if array.dtype == np.uint16]
    values = {**arrays, **{name: _widened(arrays[name]) for name in halves}}
    given = {name: values[name] for name in inputs}
    made = {name: values[name] for name in values if name not in given}
    for name in made:  # one array for past and present, as one memory
        past = name.replace("present_", "past_")
        made[name] = given.get(past, made[name])
    if "past_lengths" in given:
        end = int(given["past_lengths"].max()) + given["inputs_embeds"].shape[1]
        if given["past_lengths"].min() < 0 or end > given["past_key.0"].shape[2]:
            raise LostError(700)
    if plan["network"]:
        from tests.unit.runtime.tensorrt.parsed_plans import run_plan

        run_plan(plan["network"], given, made)
    else:
        functions[plan["graph"]](given, made)
    for name in halves:
        if name in made:
            arrays[name][...] = made[name].view(np.uint32) >> 16


def _widened(stored: np.ndarray) -> np.ndarray:
    return (stored.astype(np.uint32) << 16).view(np.float32)
