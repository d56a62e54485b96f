"""`janus-edge calibrate`."""

from __future__ import annotations

from pathlib import Path

import click

from janus_edge.cli.console import print_json, progress_bar
from janus_edge.errors import DependencyError, InputError


@click.command(short_help="Record what layers see, for INT8 and INT4.")
@click.argument("bundle", type=click.Path())
@click.argument("target", type=click.Path())
@click.option("--prompts", type=click.Path(), help="A text file, a prompt a line; lines with # are comments.")  # fmt: skip
@click.option("--images", type=click.Path(), help="A folder of images to ask about.")
@click.option("--limit", type=click.IntRange(1), default=48, show_default=True,
              help="At most so many prompts and so many images.")  # fmt: skip
@click.option(
    "--fraction", default=0.25, show_default=True, help="Share of decoding steps recorded."
)
@click.option("--guidance-scale", default=5.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--gram", is_flag=True, help="Keep what GPTQ needs: 4 C^2 bytes for an input of C channels.")  # fmt: skip
@click.option("--threads", default=0, help="Processor threads; 0 takes one per core.")
@click.option("--force", is_flag=True, help="Start again, whatever TARGET holds.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def calibrate(
    bundle: str, target: str, prompts: str | None, images: str | None, limit: int, fraction: float,
    guidance_scale: float, seed: int, gram: bool, threads: int, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Paint prompts and ask about images with BUNDLE; write what its layers read to TARGET (.npz).

    Without --prompts: a shipped set after GenEval and DPG-Bench, and for the miniature prompts of
    its own world. Without --images: a shipped photograph and what was just painted, and for the
    miniature drawn scenes. An interrupted run goes on when it is started again.

    Example:  janus-edge calibrate janus-1b calibration.npz --images photos
    """
    try:
        from janus_edge.calib.calibrate import Options
        from janus_edge.calib.calibrate import calibrate as record
    except ImportError as missing:
        raise DependencyError.missing(missing.name or "onnx", "calib") from missing
    from janus_edge.bundle import Bundle
    from janus_edge.cli.calibration_data import calibration_items

    path = Path(target)
    if path.suffix != ".npz" or path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: give the calibration a .npz file in an existing folder")
    options = Options(fraction, guidance_scale, seed, gram=gram)
    opened = Bundle.open(bundle)
    items = calibration_items(opened.manifest.source.name == "miniature", prompts, images, limit)
    with progress_bar() as bars:
        task = bars.add_task("calibrating", total=len(items))
        found = record(
            opened, items, path, options, force=force, threads=threads,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )  # fmt: skip
    if as_json:
        print_json({"file": str(path), **found.counts})
        return
    counts, inputs = found.counts, sum(map(len, found.graphs.values()))
    click.echo(
        f"{path}: {inputs} inputs over {counts['prompts']} prompts, {counts['pictures']} pictures and "
        f"{counts['questions']} questions; {counts['recorded_steps']} of {counts['steps']} steps recorded"
    )
