"""A TensorRT of a few classes, as old or as new as a test wants it."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx

from janus_edge.engines.tensorrt.api import TensorRT, features

PLAN = b"a plan"


class Enum:
    """A member of an enum: its name, and its number."""

    def __init__(self, name: str, number: int = 0) -> None:
        self.name, self._number = name, number

    def __int__(self) -> int:
        return self._number


def enum(*names: str) -> type:
    made = {name: Enum(name, number) for number, name in enumerate(names)}
    return type("Enum", (), {**made, "__members__": made})


def tensor(name: str, *shape: int, dtype: str = "HALF") -> Any:
    return SimpleNamespace(name=name, shape=shape, dtype=Enum(dtype))


class Layer:
    """A layer of a network; any layer may be the first one of an attention."""

    attention: Any = ()  # an attribute of the bindings' layers

    def __init__(self, kind: Enum, name: str, inputs: list[Any], outputs: list[Any]) -> None:
        self.type, self.name, self._inputs, self._outputs = kind, name, inputs, outputs
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)
        self.attention = SimpleNamespace(decomposable=False, get_input=lambda _: None)

    def get_input(self, index: int) -> Any:
        return self._inputs[index]

    def get_output(self, index: int) -> Any:
        return self._outputs[index]


class Network:
    def __init__(self, inputs: list[Any], layers: list[Any], outputs: list[Any]) -> None:
        self.inputs, self.layers, self.outputs = inputs, layers, outputs

    num_inputs = property(lambda self: len(self.inputs))
    num_layers = property(lambda self: len(self.layers))
    num_outputs = property(lambda self: len(self.outputs))

    def get_input(self, index: int) -> Any:
        return self.inputs[index]

    def get_layer(self, index: int) -> Any:
        return self.layers[index]

    def get_output(self, index: int) -> Any:
        return self.outputs[index]


class Options:
    """Records what is set; a timing cache is taken if it begins with 'mine' or is empty."""

    num_compute_capabilities = 0
    profiling_verbosity: Any = None
    max_aux_streams = -1
    progress_monitor: Any = None

    def __init__(self) -> None:
        self.flags: set[str] = {"TF32"}
        self.limits: dict[str, int] = {}
        self.profiles: list[Any] = []
        self.cache: bytes | None = None
        self.capabilities: dict[int, str] = {}

    def set_flag(self, flag: Enum) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Enum) -> None:
        self.flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: Enum, size: int) -> None:
        self.limits[pool.name] = size

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_compute_capability(self, capability: Enum, index: int) -> bool:
        self.capabilities[index] = capability.name
        return True

    def create_timing_cache(self, serialized: bytes) -> bytes:
        return serialized

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache and not cache.startswith(b"mine"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        assert self.cache is not None
        return SimpleNamespace(serialize=lambda: np.frombuffer(b"mine, longer", np.uint8))


class Parser:
    """Make a float16 layer of each node; inputs and outputs keep the graph's names.

    ``kinds`` maps operators to layer types; other operators become ELEMENTWISE.
    """

    num_errors = 0
    kinds: Mapping[str, Enum] = {"MatMul": Enum("MATRIX_MULTIPLY")}

    def __init__(self, network: Network, logger: Any) -> None:
        self.network = network

    def parse_from_file(self, model: str) -> bool:
        return self._fill(onnx.load(model, load_external_data=False))

    def parse(self, model: bytes, path: str) -> bool:
        return self._fill(onnx.load_from_string(model))

    def _fill(self, model: onnx.ModelProto) -> bool:
        graph = model.graph
        self.network.inputs, self.network.outputs = (
            [
                tensor(v.name, *(d.dim_value or -1 for d in v.type.tensor_type.shape.dim))
                for v in some
            ]
            for some in (graph.input, graph.output)
        )
        made = {one.name: one for one in (*self.network.inputs, *self.network.outputs)}
        for node in graph.node:
            for name in (*node.input, *node.output):
                made.setdefault(name, tensor(name, 1))
        self.network.layers = [
            Layer(
                self.kinds.get(node.op_type, Enum("ELEMENTWISE")),
                node.name,
                [made[name] for name in node.input],
                [made[name] for name in node.output],
            )
            for node in graph.node
        ]
        return True


def fake_tensorrt(
    *,
    capabilities: tuple[str, ...] = (),
    streamed: bool = False,
    recent: bool = False,
    plan: bytes | None = PLAN,
    attention_error: str = "",
    tries: list[bool] | None = None,
) -> TensorRT:
    """A module that 'builds' ``plan``, and the options of its builds in ``module.made``.

    If ``recent``, it has attention layers and a cache that is updated in place. With ``attention_error``,
    a network with attention fails to build unless it is decomposable. Each build appends to ``tries``
    whether it was.
    """
    made: list[Options] = []

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Network:
            assert flags == 2
            return Network([], [], [])

        def create_builder_config(self) -> Options:
            made.append(Options())
            return made[-1]

        def create_optimization_profile(self) -> Any:
            shapes: dict[str, Any] = {}
            return SimpleNamespace(
                shapes=shapes, set_shape=lambda name, *sizes: shapes.update({name: sizes})
            )

        def build_serialized_network(self, network: Network, options: Options) -> Any:
            self.tell(options)
            for first in (one for one in network.layers if one.type.name == "ATTENTION_INPUT"):
                if tries is not None:
                    tries.append(first.attention.decomposable)
                if attention_error and not first.attention.decomposable:
                    self.logger.log(Enum("ERROR"), attention_error)
                    return None
            return None if plan is None else np.frombuffer(plan, np.uint8)

        def tell(self, options: Options) -> None:
            for kind, size in (("Activation", 640), ("Activation", 512), ("Weights", 6400)):
                self.logger.log(Enum("INFO"), f"Total {kind} Memory: {size} bytes")
            if plan is None:
                self.logger.log(Enum("ERROR"), "kOPT values\n violate shape constraints")
            if options.progress_monitor:
                options.progress_monitor.phase_start("Building Engine", None, 2)
                options.progress_monitor.phase_start("Tactics", "Building Engine", 2)
                assert options.progress_monitor.step_complete("Tactics", 1)
                options.progress_monitor.phase_finish("Building Engine")

    if streamed:

        def stream(self: Any, network: Network, options: Options, writer: Any) -> bool:
            self.tell(options)
            for start in range(0, len(plan or b""), 4):
                writer.write((plan or b"")[start : start + 4])
            return True  # whatever the writer did, as TensorRT-RTX 1.7

        Builder.build_serialized_network_to_stream = stream  # type: ignore[attr-defined]
    module = SimpleNamespace(
        made=made,
        Builder=Builder,
        OnnxParser=Parser,
        ILogger=type("ILogger", (), {}),
        IProgressMonitor=type("IProgressMonitor", (), {}),
        IBuilderConfig=Options,
        NetworkDefinitionCreationFlag=enum("EXPLICIT_BATCH", "STRONGLY_TYPED"),
        BuilderFlag=enum("REFIT", "TF32"),
        MemoryPoolType=enum("WORKSPACE"),
        ProfilingVerbosity=enum("DETAILED"),
    )
    if recent:
        module.LayerType = enum("ATTENTION_INPUT", "KV_CACHE_UPDATE", "CAST", "ELEMENTWISE")
        kinds = {"Attention": module.LayerType.ATTENTION_INPUT, **Parser.kinds}
        module.OnnxParser = type("RecentParser", (Parser,), {"kinds": kinds})
        module.IAttention = SimpleNamespace(
            decomposable=True, get_input=None.__class__, set_input=None.__class__
        )
        module.IAttentionInputLayer = Layer
    if streamed:
        module.IStreamWriter = type("IStreamWriter", (), {})
    if capabilities:
        module.BuilderFlag = enum("TF32", "REQUIRE_USER_ALLOCATION")
        module.ComputeCapability = enum("NONE", "CURRENT", *capabilities)
    module.__version__ = "10.3.0"
    return TensorRT("TensorRT", module.__version__, module, features(module))
