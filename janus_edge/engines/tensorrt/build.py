"""From a graph to a plan: what TensorRT's and TensorRT-RTX' builders make of one graph."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from janus_edge.config import JanusConfig
from janus_edge.engines.tensorrt import options as build_options
from janus_edge.engines.tensorrt.api import TensorRT
from janus_edge.engines.tensorrt.attention import allow_decomposition, attention_layers
from janus_edge.engines.tensorrt.dump import precisions, write_dump
from janus_edge.engines.tensorrt.messages import Messages
from janus_edge.engines.tensorrt.network import ParsedGraph, parse_graph
from janus_edge.engines.tensorrt.objects import IBuilderConfig
from janus_edge.engines.tensorrt.plan_file import partial_path, write_plan
from janus_edge.engines.tensorrt.profiles import Profile, Shapes, optimization_profiles
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph, Signature
from janus_edge.progress import Row

#: Growth of the weights, as a factor and in bytes, that alignment alone can explain.
_GROWTH, _PADDING = 1.05, 1 << 20

#: Characters of the builder's own words that a note keeps.
_REASON = 300


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan that was written, and figures of its build.

    ``weight_bytes`` are those of the graph's constants, ``device_weight_bytes`` of the plan's once
    it is loaded; ``device_bytes`` is the scratch memory that an execution context takes, of the
    optimisation profile that takes most. The builder reports both, or None.
    ``precisions`` counts layers of the network by type and precision, because an engine cannot be
    inspected without a GPU. ``attention`` and ``notes`` are as in :class:`GraphBuild`. ``timing_cache`` is
    for the next build; None if builds measure nothing.
    """

    path: Path
    size: int
    seconds: float
    weight_bytes: int
    device_weight_bytes: int | None
    device_bytes: int | None
    precisions: dict[str, int]
    timing_cache: bytes | None
    warnings: tuple[str, ...]
    attention: str = ""
    notes: tuple[str, ...] = ()


def build_plan(
    graph_file: Path,
    graph: Graph,
    config: JanusConfig,
    profile: Profile,
    tensorrt: TensorRT,
    out: Path,
    *,
    ports: Signature | None = None,
    capabilities: Sequence[str] = (),
    timing_cache: bytes | None = None,
    workspace: int | None = None,
    refit: bool = False,
    dump: Path | None = None,
    progress: Row | None = None,
) -> BuiltPlan:
    """Parse and build ``graph_file`` into the plan ``out``, which appears when it is complete.

    ``ports`` are the inputs and outputs that it must have, by default the graph table's.
    ``capabilities`` ('8.9') are those to build for, if TensorRT can choose; ``workspace``
    limits the scratch memory of a layer, in bytes. ``refit`` lets weights be changed later
    (TensorRT-RTX 1.7 then needs a GPU to build). With ``dump``, the network is written there as text
    before it is built, so it can be read even if the build fails, and the plan keeps its layers' details.
    Fused attention is tried first, then decomposed. Raises EngineError with TensorRT's message and the
    fix, and InputError for a profile or capability that is not available; neither leaves a file.
    """
    started, shapes = time.perf_counter(), optimization_profiles(graph, config, profile)
    lacking = list[str]()

    def attempt(*, decomposed: bool) -> BuiltPlan | None:
        """The plan; None if attention lacks a fused kernel and may not be decomposed.

        The objects of one attempt are freed before the next, since live builders share a logger.
        """
        messages = Messages()
        if progress:
            progress.state("parse")
        parsed = parse_graph(tensorrt, graph_file, graph, config, profile, messages, ports)
        attention = attention_layers(tensorrt, parsed.network)
        if decomposed:
            allow_decomposition(tensorrt, parsed.network)
        if dump:
            write_dump(parsed.network, dump)
        options = parsed.builder.create_builder_config()
        build_options.choose_capabilities(tensorrt, options, capabilities)
        build_options.set_flags(tensorrt, options, refit=refit, detailed=dump is not None)
        if workspace is not None:
            build_options.set_workspace(tensorrt, options, workspace)
        for one in shapes:
            _add_profile(graph_file, parsed, options, one)
        build_options.use_timing_cache(tensorrt, options, timing_cache, messages)
        monitor = build_options.watch(tensorrt, options, progress) if progress else None
        try:
            size = _write(tensorrt, graph_file, parsed, options, out, messages)
        except EngineError:
            if attention and not decomposed and messages.lack_attention:
                lacking.append(_no_kernel(messages))
                return None
            raise
        finally:
            del monitor  # TensorRT uses it until here
        return BuiltPlan(
            path=out,
            size=size,
            seconds=time.perf_counter() - started,
            weight_bytes=parsed.weight_bytes,
            device_weight_bytes=messages.weight_bytes,
            device_bytes=max(messages.activation_bytes, default=None),
            precisions=precisions(parsed.network),
            timing_cache=build_options.timing_cache_after(tensorrt, options),
            warnings=tuple(messages.warnings),
            attention=("decomposed" if decomposed else "fused") if attention else "",
            notes=(*parsed.notes, *lacking, *_grown(parsed.weight_bytes, messages.weight_bytes)),
        )

    plan = attempt(decomposed=False) or attempt(decomposed=True)
    assert plan is not None
    return plan


def _no_kernel(messages: Messages) -> str:
    """Why attention is decomposed."""
    if any("dedicated kernel" in error for error in messages.errors):
        return "attention has no fused kernel for these shapes and types: it is built from several"
    return f"attention is built from several kernels, since fused: {messages.errors[0][:_REASON]}"


def _grown(before: int, after: int | None) -> tuple[str, ...]:
    """A note if the plan's weights take more memory than the graph's."""
    if after is None or after <= before * _GROWTH + _PADDING:
        return ()
    return (
        f"weights take {after / 2**20:.1f} MiB in the engine and {before / 2**20:.1f} MiB in the "
        "graph: the builder stores them in a wider type, so a step reads more",
    )


def _add_profile(
    graph_file: Path, parsed: ParsedGraph, options: IBuilderConfig, shapes: dict[str, Shapes]
) -> None:
    made = parsed.builder.create_optimization_profile()
    for name, (smallest, typical, largest) in shapes.items():
        made.set_shape(name, smallest, typical, largest)
    if options.add_optimization_profile(made) < 0:
        raise EngineError(
            f"{graph_file}: its inputs do not take the shapes {shapes}; export the bundle again"
        )


def _write(
    tensorrt: TensorRT,
    graph_file: Path,
    parsed: ParsedGraph,
    options: IBuilderConfig,
    out: Path,
    messages: Messages,
) -> int:
    """Build into a file beside ``out`` and rename it; its bytes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(out)
    try:
        with open(partial, "wb") as file:
            size = write_plan(tensorrt, parsed.builder, parsed.network, options, file)
        if not size:
            raise messages.build_error(str(tensorrt), graph_file)
        partial.replace(out)
    except OSError as failure:
        raise EngineError(
            f"{out}: cannot be written ({failure.strerror}); free some space, or choose another folder"
        ) from failure
    finally:
        partial.unlink(missing_ok=True)
    return size
