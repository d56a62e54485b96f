"""The targets that engines can be built for, by the names of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from janus_edge.config import JanusConfig
from janus_edge.engines.build import Target
from janus_edge.engines.ort_cpu import OrtCpu
from janus_edge.engines.ort_cuda import OrtCuda
from janus_edge.engines.target_names import TARGET_NAMES
from janus_edge.engines.tensorrt_10_3 import TensorRT103
from janus_edge.engines.tensorrt_target import TensorRTTarget
from janus_edge.errors import InputError

#: They take any shape.
_ONNX_RUNTIME = (OrtCpu.name, OrtCuda.name)


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """What the command line says about an engine; all but ``prepack``, of `ort-cpu`, is TensorRT's.

    ``profile`` as `engines/tensorrt/profile_option.py` has it, ``capabilities`` ('8.9') to build
    for, ``timings`` the folder of TensorRT's timing caches, ``dump`` one for networks as text,
    ``workspace`` is a size for `engines/tensorrt/workspace.py`, ``plans`` a folder of plans that trtexec
    built.
    """

    profile: str = ""
    capabilities: tuple[str, ...] = ()
    timings: Path | None = None
    dump: Path | None = None
    workspace: str = ""
    plans: Path | None = None
    prepack: bool = False


def target(
    name: str, config: JanusConfig | None = None, options: TargetOptions = TargetOptions()
) -> Target:
    """The target called ``name`` for a model of ``config``, which only ONNX Runtime's can do without.

    Raises InputError for an unknown name, with those that are known, for options that the target
    does not have, and for a profile that the model does not take.
    """
    if options.prepack and name != OrtCpu.name and name in TARGET_NAMES:
        raise InputError(f"--prepack is for {OrtCpu.name}: leave it out for {name}")
    if name in _ONNX_RUNTIME:
        given = {
            "--profile": options.profile,
            "--compute-capability": options.capabilities,
            "--dump-network": options.dump,
            "--workspace": options.workspace,
            "--plans": options.plans,
        }
        for option, value in given.items():
            if value:
                raise InputError(f"{option} is for TensorRT: leave it out for {name}")
        return OrtCpu(prepack=options.prepack) if name == OrtCpu.name else OrtCuda()
    if name not in TARGET_NAMES:
        raise InputError(f"unknown target {name!r}: choose one of {', '.join(TARGET_NAMES)}")
    if config is None:
        raise InputError(f"{name} is built for a model of certain dimensions: give its bundle")
    if options.plans and name == "tensorrt-rtx":
        raise InputError(f"--plans is for plans of trtexec: leave it out for {name}")
    made = TensorRT103 if name == "tensorrt-10.3" else TensorRTTarget
    return made(
        name,
        config,
        profile=options.profile,
        capabilities=options.capabilities,
        timings=options.timings,
        dump=options.dump,
        workspace=options.workspace,
        plans=options.plans,
    )
