"""`janus-edge parity`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import print_json, print_table, progress_bar
from janus_edge.errors import DependencyError, InputError, ParityError

if TYPE_CHECKING:
    from janus_edge.runtime.replay import ParityReport
    from janus_edge.trace_file import ReferenceTrace


#: Painted unless a prompt is given; another bundle is compared on several.
_PROMPT = "a red fox sitting in fresh snow"


@click.command(short_help="Compare a bundle with PyTorch, or with another bundle.")
@click.argument("reference", metavar="REFERENCE")
@click.argument("bundle", type=click.Path())
@click.option(
    "--prompt", "prompts", multiple=True,
    help=f"What to paint; '{_PROMPT}' if not given. Between bundles several times for several, "
    "seven shipped ones if not given.",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(1), help="Codes to draw; all of a picture if not given."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@click.option("--guidance-scale", default=5.0, show_default=True, help="1: no guidance.")
@click.option("--temperature", default=1.0, show_default=True, help="0: no noise.")
@click.option(
    "--image", "images", type=click.Path(), multiple=True,
    help="Input of the encoders; a shipped photograph if not given. Between bundles several times "
    "for several.",
)  # fmt: skip
@click.option(
    "--save-trace", type=click.Path(), help="Keep what PyTorch computed, to replay it elsewhere."
)
@click.option(
    "--max-kl", type=float,
    help="Between bundles: fail if the mean KL of guided image logits is larger, in nats.",
)  # fmt: skip
@click.option(
    "--min-psnr", type=float, help="Between bundles: fail if the VQ decoder's PSNR is lower, in dB."
)
@click.option(
    "--min-top1", type=click.FloatRange(0, 1),
    help="Between bundles: fail if a smaller share of most probable codes agrees.",
)  # fmt: skip
@click.option(
    "--engines", is_flag=True,
    help="BUNDLE is an engine of TensorRT: compare its plans with the graphs of REFERENCE.",
)  # fmt: skip
@click.option(
    "--threads", default=0, help="Processor threads of the runtime; 0 takes one per core."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def parity(
    reference: str, bundle: str, prompts: tuple[str, ...], steps: int | None, seed: int,
    guidance_scale: float, temperature: float, images: tuple[str, ...], save_trace: str | None,
    max_kl: float | None, min_psnr: float | None, min_top1: float | None, engines: bool,
    threads: int, as_json: bool,
) -> None:  # fmt: skip
    """Compare a BUNDLE with its REFERENCE, graph by graph and code by code.

    REFERENCE is its checkpoint in PyTorch, or a trace that --save-trace wrote, which a machine
    without PyTorch can replay. The generation is teacher-forced: every step follows the reference's
    codes.

    REFERENCE may also be another bundle: a quantised bundle's float parent, say. Then the
    divergence of the logits is measured, too, and nothing is asked of the figures but that they are
    finite, unless --max-kl, --min-psnr or --min-top1 is given.

    With --engines every plan of a TensorRT engine is run by Polygraphy beside the graph that it was
    built from, on seeded inputs, and a graph that misses its tolerance is bisected for the layer.

    \b
    Example:  janus-edge parity deepseek-ai/Janus-Pro-1B janus-1b --steps 16
    Example:  janus-edge parity janus-1b janus-1b-int8 --max-kl 0.05 --min-psnr 38
    Example:  janus-edge parity janus-1b janus-1b-trt --engines
    """
    context, bars = click.get_current_context(), ("max_kl", "min_psnr", "min_top1")
    if engines:
        ignored = (
            "prompts",
            "steps",
            "guidance_scale",
            "temperature",
            "images",
            "save_trace",
            "threads",
        )
        _refuse(context, (*ignored, *bars), "is not for --engines: plans are run on seeded inputs")
        from janus_edge.cli.engine_parity_report import report_engines

        report_engines(reference, bundle, seed=seed, as_json=as_json)
        return
    if _is_bundle(reference):
        _refuse(context, ("save_trace",), "is for a checkpoint: a bundle can always be compared")
        settings = {
            "steps": steps, "seed": seed, "guidance_scale": guidance_scale,
            "temperature": temperature, "images": images or None,
            **({"prompts": prompts} if prompts else {}),
        }  # fmt: skip
        from janus_edge.cli.bundle_parity_report import report_bundles

        values = dict(zip(bars, (max_kl, min_psnr, min_top1), strict=True))
        report_bundles(reference, bundle, settings, values, threads=threads, as_json=as_json)
        return
    _refuse(context, bars, "is for another bundle: PyTorch is compared by fixed tolerances")
    for name, several in (("prompt", prompts), ("image", images)):
        if len(several) > 1:
            raise InputError(f"--{name} is given {len(several)} times: PyTorch is asked for one")
    from janus_edge.runtime.pipeline import Janus
    from janus_edge.runtime.replay import replay
    from janus_edge.trace_file import ReferenceTrace

    with Janus.load(bundle, threads=threads) as janus:  # before minutes of PyTorch
        if reference.endswith(".npz"):
            settings_of_traces = (
                "prompts", "steps", "seed", "guidance_scale", "temperature", "images", "save_trace",
            )  # fmt: skip
            _refuse(
                context, settings_of_traces, "is for a checkpoint: a trace already has its settings"
            )
            trace = ReferenceTrace.load(reference)
        else:
            if save_trace:
                _check_target(Path(save_trace))
            prompt, image = (*prompts, _PROMPT)[0], (*images, None)[0]
            trace = _record(reference, image, prompt, steps, seed, guidance_scale, temperature)
            if save_trace:
                trace.save(save_trace)
        with _bar("runtime", trace.steps) as progress:
            report = replay(janus, trace, progress)
        matches = janus.bundle.manifest.source.digest == trace.meta.digest
    if not matches:
        click.echo(
            "note: the bundle was exported from other files than this checkpoint's", err=True
        )
    _report(report, as_json)
    if not report:
        raise ParityError(f"{bundle} does not agree with PyTorch: see the table; export it again")


def _is_bundle(reference: str) -> bool:
    from janus_edge.bundle import MANIFEST

    return (Path(reference) / MANIFEST).is_file()


def _refuse(context: click.Context, names: tuple[str, ...], why: str) -> None:
    """Options that would be ignored are errors."""
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and given is click.core.ParameterSource.COMMANDLINE:
            raise InputError(f"{parameter.opts[0]} {why}")


def _check_target(path: Path) -> None:
    if path.suffix != ".npz" or path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: give --save-trace a .npz file in an existing folder")


def _record(
    reference: str, image: str | None, prompt: str, steps: int | None, seed: int,
    guidance_scale: float, temperature: float,
) -> ReferenceTrace:  # fmt: skip
    try:
        from janus_edge.export.checkpoint import Checkpoint
        from janus_edge.export.record import record_trace
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "torch", "export") from missing
    from janus_edge.runtime.image_processing import load_image

    checkpoint = Checkpoint.open(reference)
    total = steps or checkpoint.config.image_tokens
    if total > checkpoint.config.image_tokens:
        raise InputError(
            f"--steps {total}: a picture of this model has {checkpoint.config.image_tokens} codes"
        )
    if not (math.isfinite(guidance_scale) and math.isfinite(temperature) and temperature >= 0):
        raise InputError(
            f"guidance scale {guidance_scale} and temperature {temperature}: give finite numbers, "
            "and a temperature of at least 0"
        )
    if image:
        load_image(image)  # says what is wrong with a file that is no image
    photograph = resources.files("janus_edge") / "assets" / "astronaut.jpg"
    with resources.as_file(photograph) as shipped, _bar("PyTorch", total) as progress:
        return record_trace(
            checkpoint, Path(image) if image else shipped, prompt, steps=total, seed=seed,
            guidance_scale=guidance_scale, temperature=temperature, progress=progress,
        )  # fmt: skip


@contextmanager
def _bar(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over ``total`` steps: the block's value takes the number of steps done."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn(f"{name:<8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with progress_bar(*columns) as bars:
        task = bars.add_task("", total=total)
        yield lambda done: bars.update(task, completed=done)


def _report(report: ParityReport, as_json: bool) -> None:
    from janus_edge.schema import to_dict

    if as_json:
        stages = {
            name: {**to_dict(figures), "passed": bool(figures)}
            for name, figures in report.stages.items()
        }
        print_json({**to_dict(report), "stages": stages, "passed": bool(report)})
        return
    rows = []
    for name, d in report.stages.items():
        rows.append(
            (
                name,
                f"{d.max_abs:.1e}",
                f"{d.mean_abs:.1e}",
                "" if d.cosine is None else f"{d.cosine:.7f}",
                "" if d.snr_db is None else f"{d.snr_db:.1f}",
                "" if d.top1 is None else f"{d.top1:.1%}",
                f">= {d.tolerance:g} dB" if d.measure == "snr_db" else f"<= {d.tolerance:g}",
                "pass" if d else "FAIL",
            )
        )
    columns = ["stage", "max>", "mean>", "cosine>", "SNR dB>", "top-1>", "needs>", ">"]
    print_table(f"against PyTorch, {report.float_type}", columns, rows)
    where = report.first_differing_step
    tail = "all equal" if where is None else f"first difference at step {where}"
    click.echo(
        f"codes drawn with the same noise: {report.equal_codes} of {report.steps} equal, {tail}"
    )
