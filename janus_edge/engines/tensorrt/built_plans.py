"""Plans built elsewhere by trtexec (`--plans FOLDER`): FOLDER/NAME.plan, named as in an engine."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import onnx

from janus_edge.engines.tensorrt.api import load
from janus_edge.engines.tensorrt.build import BuiltPlan
from janus_edge.engines.tensorrt.network import constant_bytes
from janus_edge.engines.tensorrt.plan_file import partial_path
from janus_edge.engines.tensorrt.request import PlanRequest
from janus_edge.errors import EngineError
from janus_edge.progress import Row
from janus_edge.tensorrt_module import Installed

#: The option's name in an engine's manifest, and after two hyphens on the command line.
OPTION = "plans"

#: The first bytes of a plan, from `printPlanVersion` in trtexec's source.
_TAG = b"ftrt\x00\x00\x00\x00"

#: Version of TensorRT that built the plan: major, minor, patch and build, one byte each.
_VERSION = slice(24, 28)


class BuiltPlans:
    """Takes plans from ``folder`` instead of building them.

    It checks what it can without a GPU: that a plan exists and that the installed version of TensorRT
    built it. Opening the engine compares names, types, shapes and the updated cache with the graph
    table.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, request: PlanRequest, row: Row) -> BuiltPlan:
        """Copy the plan that the request names; raises EngineError if it cannot be used."""
        started = time.perf_counter()
        row.state("copy")
        plan = self.folder / request.out.name
        model = onnx.load(str(request.graph_file), load_external_data=False)
        size = _checked(plan, load(request.target))
        request.out.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(request.out)
        try:
            shutil.copyfile(plan, partial)
            partial.replace(request.out)
        except OSError as failure:
            raise EngineError(
                f"{request.out}: cannot be written ({failure.strerror}); free some space, or choose "
                "another folder"
            ) from failure
        finally:
            partial.unlink(missing_ok=True)
        return BuiltPlan(
            path=request.out,
            size=size,
            seconds=time.perf_counter() - started,
            weight_bytes=constant_bytes(model),
            device_weight_bytes=None,
            device_bytes=None,
            precisions={},
            timing_cache=None,
            warnings=(),
        )


def _checked(plan: Path, tensorrt: Installed) -> int:
    """The bytes of ``plan``."""
    try:
        with plan.open("rb") as file:
            head = file.read(_VERSION.stop)
        size = plan.stat().st_size
    except OSError as failure:
        raise EngineError(
            f"{plan}: cannot be read ({failure.strerror}); write the graphs and their build "
            "script with --trtexec FOLDER, run it, and give --plans its folder of plans"
        ) from failure
    if len(head) < _VERSION.stop or not head.startswith(_TAG):
        raise EngineError(f"{plan}: is not a plan of TensorRT; build it again with trtexec")
    built, found = ".".join(map(str, head[_VERSION])), tensorrt.version
    if built.split(".")[:3] != found.split(".")[:3]:
        raise EngineError(
            f"{plan}: was built with TensorRT {built} and this machine has {found}; build it again "
            "with this machine's trtexec"
        )
    return size
