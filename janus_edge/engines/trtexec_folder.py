"""`--trtexec FOLDER`: lowered graphs for trtexec, and the commands that build them.

FOLDER/build.sh         trtexec for each plan; then the command that makes an engine of the plans
FOLDER/graphs/          NAME.onnx with its sizes fixed, and its weights
FOLDER/plans/           what build.sh writes
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from onnx.external_data_helper import uses_external_data

from janus_edge.bundle import Bundle
from janus_edge.engines.build import check_outside
from janus_edge.engines.tensorrt.network import fix_sizes
from janus_edge.engines.tensorrt.profiles import Profile, fixed_sizes, optimization_profiles
from janus_edge.engines.tensorrt.trtexec import script, trtexec_options
from janus_edge.engines.tensorrt_target import TensorRTTarget
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.progress import Task, silent


@dataclass(frozen=True, slots=True)
class TrtexecFolder:
    """The script, and trtexec's options for each plan; paths are relative to the script."""

    script: Path
    commands: dict[str, list[str]]


def write_trtexec(
    bundle: Bundle, target: TensorRTTarget, folder: Path, after: str, task: Task = silent
) -> TrtexecFolder:
    """Write the graphs of ``bundle`` and the script that builds them for ``target`` to ``folder``.

    Weights are copied, so that the folder can be moved. ``after`` is the command to run when the
    plans are there. Neither a GPU nor TensorRT is needed. Raises InputError for a folder that has
    something in it, is inside the bundle, or cannot be written, and EngineError for a bundle that the
    target does not take.
    """
    target.check_bundle(bundle)
    check_outside(bundle, folder)
    commands = {}
    try:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(
                f"{folder}: is not empty; give --trtexec a new folder, or empty this one"
            )
        (folder / "graphs").mkdir(parents=True, exist_ok=True)
        for graph in Graph:
            with (
                task(graph.value) as row,
                target.lowered(bundle.graph(graph), graph, folder) as (source, _passes),
            ):
                row.state("write")
                for name, shapes in target.plans_of(graph).items():
                    model = _write_graph(source, graph, shapes, folder / "graphs" / f"{name}.onnx")
                    commands[name] = _options(model, graph, name, shapes, target, bundle)
        path = folder / "build.sh"
        title = f"Build the graphs of {bundle.path.name} for {target.name}"
        # names of files need not be UTF-8
        path.write_text(script(commands, title, after), "utf-8", "surrogateescape")
        path.chmod(0o755)
    except OSError as failure:
        raise InputError(
            f"{folder}: cannot be written ({failure.strerror}); give --trtexec another folder"
        ) from failure
    return TrtexecFolder(path, commands)


def next_command(bundle: Bundle, target: TensorRTTarget, folder: Path, out: str) -> str:
    """Return the command that makes the engine ``out`` from the plans that the script writes."""
    words = ["janus-edge", "build", str(bundle.path.absolute()), out, "--target", target.name]
    if target.asked_profile:
        words += ["--profile", target.asked_profile]
    if target.asked_workspace:
        words += ["--workspace", target.asked_workspace]
    return shlex.join([*words, "--plans", str(folder.absolute() / "plans")])


def _options(
    model: onnx.ModelProto,
    graph: Graph,
    name: str,
    shapes: Profile,
    target: TensorRTTarget,
    bundle: Bundle,
) -> list[str]:
    recipe, config = bundle.manifest.recipe, bundle.manifest.config
    attention = any(node.op_type == "Attention" for node in model.graph.node)
    # the VQ model has one head with all channels
    wide = graph in (Graph.VQ_ENCODER, Graph.VQ_DECODER)
    return trtexec_options(
        PurePosixPath("graphs", f"{name}.onnx"),
        PurePosixPath("plans", f"{name}.plan"),
        optimization_profiles(graph, config, shapes),
        workspace=target.asked_workspace,
        decomposable=attention and (wide or recipe.float_type == "float32"),
    )


def _write_graph(source: Path, graph: Graph, shapes: Profile, path: Path) -> onnx.ModelProto:
    """Write ``source`` with its sizes fixed to ``path``, and its weights beside it."""
    model = onnx.load(str(source), load_external_data=False)
    fix_sizes(model, fixed_sizes(graph, shapes))
    onnx.save(model, str(path))
    for location in sorted(_locations(model)):
        if not (path.parent / location).exists():  # plans of one graph share its weights
            # a copy: onnx-ir rejects weights with a second hard link
            shutil.copyfile(source.parent / location, path.parent / location)
    return model


def _locations(model: onnx.ModelProto) -> set[str]:
    """The graph's weight files, which are beside it; their names have no folders."""
    return {
        entry.value
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
