"""The options of a build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from janus_edge.compute_capability import gpus, target_instead
from janus_edge.cuda_driver import first_gpu
from janus_edge.engines.tensorrt.api import TensorRT
from janus_edge.engines.tensorrt.messages import Messages
from janus_edge.engines.tensorrt.objects import IBuilderConfig
from janus_edge.errors import BackendError, InputError
from janus_edge.progress import Row

#: What TensorRT-RTX 1.7 builds for when it is not told: Ampere, Ada and Blackwell.
_USUAL = frozenset({"8.0", "8.6", "8.9", "12.0"})


def known_capabilities(tensorrt: TensorRT, asked: Sequence[str]) -> tuple[str, ...]:
    """The compute capabilities ('8.9') to build for, in order: those asked for, or the usual ones.

    The usual ones are TensorRT-RTX 1.7's default. Empty if TensorRT builds for this machine's GPU only.
    Raises InputError, which names the target to use, for an unsupported capability; also if none was
    asked for and this machine's GPU is unsupported.
    """
    known = tensorrt.features.capabilities
    if asked and not known:
        raise InputError(
            f"{tensorrt} builds for this machine's GPU only: leave out the compute capability"
        )
    listed = ", ".join(sorted(known, key=_number))
    for capability in asked:
        if capability not in known:
            raise InputError(
                f"{tensorrt} cannot build for compute capability {gpus(capability)}: choose from {listed}, "
                f"or build on that GPU with --target {target_instead(capability)}"
            )
    if known and not asked:
        _check_this_gpu(tensorrt, listed)
    return tuple(sorted(set(asked) or _USUAL.intersection(known), key=_number))


def _check_this_gpu(tensorrt: TensorRT, listed: str) -> None:
    """Raise InputError if this machine's GPU is unsupported and no other GPU was asked for."""
    try:
        found = first_gpu()
    except BackendError:
        return  # built ahead of time for other machines
    if found.compute_capability not in tensorrt.features.capabilities:
        raise InputError(
            f"{tensorrt} cannot build for this machine's {found.name}, compute capability "
            f"{found.compute_capability}: use --target {target_instead(found.compute_capability)}, or "
            f"name other GPUs with --compute-capability ({listed})"
        )


def choose_capabilities(
    tensorrt: TensorRT, options: IBuilderConfig, capabilities: Sequence[str]
) -> None:
    """Build for GPUs of these compute capabilities ('8.9'); raises as :func:`known_capabilities`."""
    chosen, trt = known_capabilities(tensorrt, capabilities), tensorrt.module
    if not chosen:
        return
    options.num_compute_capabilities = len(chosen)
    for index, capability in enumerate(chosen):
        member = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")
        options.set_compute_capability(member, index)


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))


def set_flags(
    tensorrt: TensorRT, options: IBuilderConfig, *, refit: bool, detailed: bool = False
) -> None:
    """Flags of a build; float32 products are of float32, not of TF32's 10-bit mantissas.

    Runs allocate nothing, so they can be captured in CUDA graphs. They use one stream, because parallel
    layers would take extra memory. ``detailed`` keeps layer details for TensorRT's inspector, which makes
    runs outside of CUDA graphs slower.
    """
    trt = tensorrt.module
    options.clear_flag(trt.BuilderFlag.TF32)
    if tensorrt.features.user_allocation:
        options.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if refit:
        options.set_flag(trt.BuilderFlag.REFIT)
    options.max_aux_streams = 0
    if detailed:
        options.profiling_verbosity = trt.ProfilingVerbosity.DETAILED


def set_workspace(tensorrt: TensorRT, options: IBuilderConfig, size: int) -> None:
    """Let no layer take more than ``size`` bytes of scratch memory."""
    trt = tensorrt.module
    options.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)


def watch(tensorrt: TensorRT, options: IBuilderConfig, row: Row) -> Any:
    """Tell ``row`` the phases of a build; what is returned must outlive it."""
    trt = tensorrt.module

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if parent is None:
                row.state(phase.lower())

        def phase_finish(self, phase: str) -> None:
            pass

        def step_complete(self, phase: str, step: int) -> bool:
            return True

    monitor = Monitor()
    options.progress_monitor = monitor
    return monitor


def use_timing_cache(
    tensorrt: TensorRT, options: IBuilderConfig, cache: bytes | None, messages: Messages
) -> None:
    """Start from ``cache``, of an earlier build; one of another GPU or version is an empty one.

    Nothing where builds measure nothing.
    """
    if not tensorrt.features.timing_cache:
        return
    if not options.set_timing_cache(options.create_timing_cache(cache or b""), False):
        messages.errors.clear()  # said of the cache, not of the build
        messages.warnings.append("the timing cache is of another GPU or version: not used")
        options.set_timing_cache(options.create_timing_cache(b""), False)


def timing_cache_after(tensorrt: TensorRT, options: IBuilderConfig) -> bytes | None:
    """The timing cache for the next build; None where builds measure nothing."""
    cache = options.get_timing_cache() if tensorrt.features.timing_cache else None
    return None if cache is None else bytes(cache.serialize())
