"""`janus-edge build`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import byte_tasks, print_json, print_table, size
from janus_edge.engines.target_names import TARGET_NAMES
from janus_edge.errors import DependencyError, InputError

if TYPE_CHECKING:
    from janus_edge.bundle import Bundle
    from janus_edge.engine import Engine
    from janus_edge.engines.build import Target


def _folder(_context: click.Context, option: click.Parameter, name: str | None) -> Path | None:
    """The folder that an option names; an empty name would be the current folder."""
    if name == "":
        raise InputError(f"{option.opts[0]} is empty: name a folder")
    return None if name is None else Path(name)


@click.command(short_help="Build an engine: a bundle made for one device.")
@click.argument("bundle", type=click.Path())
@click.argument("out", type=click.Path())
@click.option("--target", metavar="NAME", help=f"What to build for: {', '.join(TARGET_NAMES)}.")
@click.option("--profile", default="", metavar="SIZES",
              help="TensorRT: sizes to build for, such as rows=8,prefill=640,capacity=640,chat=1216.")  # fmt: skip
@click.option("--compute-capability", "capabilities", multiple=True, metavar="X.Y",
              help="tensorrt-rtx: a GPU to build for; may be given several times.  "
              "[8.0, 8.6, 8.9, 12.0]")  # fmt: skip
@click.option("--workspace", default="", metavar="SIZE",
              help="TensorRT: the most scratch memory that a layer may take (512M, 2G).  [512M where the "
              "GPU shares the machine's memory, else TensorRT's own]")  # fmt: skip
@click.option("--prepack", is_flag=True,
              help="ort-cpu: lay weights out for this machine's processor, and for no other: opens at "
              "once and takes less memory, twice the space on disk.")  # fmt: skip
@click.option("--dump-network", "dump", callback=_folder, metavar="FOLDER",
              help="TensorRT: also write each parsed network as text to FOLDER/GRAPH.txt, and keep its layers' "
              "details in the plan, which makes runs outside of CUDA graphs slower.")  # fmt: skip
@click.option("--trtexec", callback=_folder, metavar="FOLDER",
              help="tensorrt: build nothing; write the graphs to FOLDER, with a script that builds them "
              "with NVIDIA's trtexec.")  # fmt: skip
@click.option("--plans", callback=_folder, metavar="FOLDER",
              help="tensorrt: make the engine from trtexec's plans, FOLDER/PLAN.plan.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing engine once the new one is complete.")  # fmt: skip
@click.option("--no-cache", is_flag=True, help="Build in any case, and keep nothing in the cache.")
@click.option("--json", "as_json", is_flag=True, help="Print the engine's manifest as JSON.")
def build(
    bundle: str, out: str, target: str | None, profile: str, capabilities: tuple[str, ...],
    workspace: str, prepack: bool, dump: Path | None, trtexec: Path | None, plans: Path | None, force: bool, no_cache: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write BUNDLE to OUT as an engine: its graphs made for one kind of device.

    An engine holds everything that running needs, and every command that takes a bundle to run it
    takes an engine in its place.

    \b
    ort-cpu        ONNX Runtime on the CPU
    ort-cuda       ONNX Runtime on an NVIDIA GPU; needs no GPU to build
    tensorrt       TensorRT 10.15 or newer, on this machine's GPU
    tensorrt-rtx   TensorRT-RTX; needs no GPU to build
    tensorrt-10.3  older TensorRT (JetPack 6), on this machine's GPU

    SIZES limit a TensorRT plan. ROWS is the most rows at a time; a picture takes two, and rows=2:8 takes
    up to 8 but is tuned for 2. PREFILL is the most new tokens at a time; longer prompts run in pieces.
    CAPACITY is the exact number of cache positions. For parallel decoding, WINDOW=16 adds kernels for up
    to 16 codes of each picture at a time.

    The cost of attention grows with the capacity, so the language model gets two plans unless CAPACITY is
    given. One is for a picture with a prompt of 64 tokens. The other has CHAT positions for an image, a
    question and an answer, and for longer prompts; chat=0 leaves it out. Each opens when first needed.
    SPLIT=1 splits each plan into prefill and decode, which take all ROWS at a time; both are then needed.
    Every plan holds all weights, on disk and, while it is open, in memory.

    Engines are kept in a cache, $JANUS_EDGE_CACHE or else ~/.cache/janus-edge, from which building
    the same again takes the time of checking its hashes. It may be removed at any time. To dump
    networks, an engine is built in any case.

    \b
    Example:  janus-edge build janus-1b janus-1b-cpu --target ort-cpu
    Example:  janus-edge build janus-1b janus-1b-rtx --target tensorrt-rtx --profile rows=8
    """
    if target is None:
        raise InputError(f"build needs --target NAME: choose one of {', '.join(TARGET_NAMES)}")
    if trtexec:
        _refuse_with_trtexec(
            {"--compute-capability": capabilities, "--dump-network": dump, "--plans": plans, "--force": force}
        )  # fmt: skip
    try:
        from janus_edge.engines.build import build_engine, check_outside
        from janus_edge.engines.cache import EngineCache
        from janus_edge.engines.targets import TargetOptions
        from janus_edge.engines.targets import target as target_named
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "onnx", "engines") from missing
    from janus_edge.bundle import Bundle
    from janus_edge.cache_folder import cache_folder

    opened = Bundle.open(bundle)
    if dump:
        check_outside(opened, dump)
    root = None if no_cache else cache_folder("engines")
    options = TargetOptions(
        profile, capabilities, root, dump, workspace=workspace, plans=plans, prepack=prepack
    )
    wanted = target_named(target, opened.manifest.config, options)
    if trtexec:
        _write_trtexec(opened, wanted, trtexec, out, as_json)
        return
    cache = None if root is None or dump or plans else EngineCache(root)
    with byte_tasks() as task:
        done = build_engine(opened, wanted, out, force=force, cache=cache, task=task)
    if as_json:
        from janus_edge.schema import to_dict

        print_json({"path": out, "cached": done.cached, **to_dict(done.engine.manifest)})
        return
    _show(done.engine)
    seconds = f"{done.engine.manifest.build_seconds:.1f} s"
    click.echo(
        f"{out}: {size(done.engine.total_bytes)}, {target}; "
        + (f"from the cache, built in {seconds} before" if done.cached else f"built in {seconds}")
    )


def _refuse_with_trtexec(options: dict[str, object]) -> None:
    """Raise InputError for the first of ``options`` that was given."""
    for name, given in options.items():
        if given:
            raise InputError(f"--trtexec builds no engine here: leave {name} out")


def _write_trtexec(bundle: Bundle, wanted: Target, folder: Path, out: str, as_json: bool) -> None:
    """Write the graphs for trtexec, and print the lines that build them."""
    from janus_edge.engines.tensorrt_target import TensorRTTarget
    from janus_edge.engines.trtexec_folder import next_command, write_trtexec

    if not isinstance(wanted, TensorRTTarget) or wanted.name == "tensorrt-rtx":
        raise InputError(
            f"--trtexec is for tensorrt and tensorrt-10.3: leave it out for {wanted.name}"
        )
    after = next_command(bundle, wanted, folder, out)
    with byte_tasks() as task:
        made = write_trtexec(bundle, wanted, folder, after, task)
    if as_json:
        print_json({"script": str(made.script), "commands": made.commands, "next": after})
        return
    for options in made.commands.values():
        click.echo(shlex.join(["trtexec", *options]) + "\n")
    click.echo(f"{made.script} runs these lines on the machine with the GPU; then, there:  {after}")


def _show(engine: Engine) -> None:
    from janus_edge.cli.bundle_commands import note_lines, passes_line, plan_lines
    from janus_edge.graphs import Graph

    plans, rows, notes = engine.manifest.plans, [], list[str]()
    for graph in Graph:
        build = engine.manifest.builds[graph.value]
        named = [(graph.value, engine.graph_bytes(graph), build)]
        if graph is Graph.LANGUAGE_MODEL and plans:
            files = engine.manifest.files
            named = [(plan.name, files[plan.file].size, plan.build) for plan in plans]
        for name, nbytes, one in named:
            scratch, done = one.workspace_bytes, passes_line(one)
            notes += note_lines(name, one)
            rows.append(
                (name, size(nbytes), "" if scratch is None else size(scratch), one.attention,
                 done or ("as in the bundle" if scratch is None else ""))
            )  # fmt: skip
    if any(row[3] for row in rows):
        print_table("", ["graph", "size>", "scratch memory>", "attention", "rewritten"], rows)
    else:  # ONNX Runtime's engines have no such choice
        print_table(
            "", ["graph", "size>", "scratch memory>", "rewritten"], [(*r[:3], r[4]) for r in rows]
        )
    for line in notes:
        click.echo(line)
    for line in plan_lines(engine.manifest):
        click.echo(line)
    if len(plans) > 1:
        click.echo(
            f"{Graph.LANGUAGE_MODEL.value} has {len(plans)} plans, and each holds all of its weights: "
            "a plan opens when first needed, and closes if another needs its memory"
        )
