"""`janus-edge generate`."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from janus_edge.atomic_file import written_aside
from janus_edge.cli.console import print_json, progress_bar
from janus_edge.cli.parallel_option import parallel_option
from janus_edge.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from janus_edge.runtime.generation import Parallel
    from janus_edge.runtime.picture import GenerationStep

_OTHER_FORMATS = {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


@click.command(short_help="Paint pictures of prompts.")
@click.argument("bundle", type=click.Path())
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@click.option(
    "-n", "--images-per-prompt", default=1, show_default=True, help="Pictures of each prompt."
)
@click.option("-o", "--out", type=click.Path(), default=".", show_default=True,
              help="A folder, or a .png file for a single picture.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same pictures.")
@click.option(
    "--guidance-scale",
    default=5.0,
    show_default=True,
    help="How strongly the prompt counts; 1: none.",
)
@click.option(
    "--temperature", default=1.0, show_default=True, help="0 takes the most probable code always."
)
@parallel_option(
    "Codes per pass of the model: one, as many as pay off here, or W; the picture stays the same."
)
@click.option("--threads", default=0, help="Processor threads; 0 takes one per core.")
@click.option("--no-cuda-graph", is_flag=True, help="On a GPU: launch every kernel of every step.")
@click.option("--no-verify", is_flag=True, help="Do not check the hashes of the files used.")
@click.option("-v", "--verbose", is_flag=True, help="Show the plan of the memory first.")
@click.option("--json", "as_json", is_flag=True, help="Print files, settings and timings as JSON.")
def generate(
    bundle: str, prompts: tuple[str, ...], images_per_prompt: int, out: str, seed: int,
    guidance_scale: float, temperature: float, parallel: Parallel, threads: int,
    no_cuda_graph: bool, no_verify: bool, verbose: bool, as_json: bool,
) -> None:  # fmt: skip
    """Paint pictures of one or more PROMPTs and write them as PNG files.

    Each file holds its prompt, seed and settings. With more than one picture there is a contact
    sheet too.

    Example:  janus-edge generate janus-1b "a red fox in the snow" -n 4 --out foxes
    """
    from janus_edge.runtime.picture import contact_sheet
    from janus_edge.runtime.pipeline import Janus

    with Janus.load(
        bundle, threads=threads, verify=not no_verify, cuda_graph=not no_cuda_graph
    ) as janus:
        steps = janus.generate_steps(
            list(prompts), images_per_prompt, seed, guidance_scale, temperature, parallel
        )
        names = _file_names(Path(out), prompts, images_per_prompt, seed)
        sheet = names[0].parent / f"contact-sheet-{seed}.png" if len(names) > 1 else None
        for name in [*names, *([sheet] if sheet else [])]:
            if name.is_dir():  # now, not when the pictures are painted
                raise InputError(f"{name}: is a folder; move it, or choose another --out")
        if verbose:
            click.echo(
                janus.generation_memory(list(prompts), images_per_prompt, parallel), err=True
            )
        started = time.perf_counter()
        total = janus.bundle.manifest.config.image_tokens
        last = _paint(steps, len(names), total)
        seconds = time.perf_counter() - started
    pictures = list(last.pictures)
    for picture, name in zip(pictures, names, strict=True):
        picture.save(name)
    if sheet:
        with written_aside(sheet) as aside:
            contact_sheet(pictures).save(aside, "PNG")
    _report(last, names, sheet, seconds, as_json)


def _paint(steps: Iterator[GenerationStep], count: int, total: int) -> GenerationStep:
    """Run the steps behind a progress bar over the ``total`` codes of ``count`` pictures; the last."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("painting"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with progress_bar(*columns) as bars:
        task = bars.add_task("", total=total, speed="reading the prompt")
        started = 0.0
        for step in steps:
            now = time.perf_counter()
            if step.step == 1:
                started = now  # the first step includes opening graphs and reading the prompt
            elif step.step < total:
                rate = (step.step - 1) * count / (now - started)
                speed = f"{rate:.1f} tokens/s  {rate / total:.3f} images/s"
                if step.passes < step.step - 1:
                    speed += f"  {(step.step - 1) / step.passes:.1f} codes a pass"
                bars.update(task, completed=step.step, speed=speed)
            if step.pictures:
                bars.update(task, completed=total)
                return step
    raise AssertionError("the last step holds the pictures")


def _file_names(out: Path, prompts: tuple[str, ...], images: int, seed: int) -> list[Path]:
    """Where each picture goes; a missing folder is made, its parent must exist."""
    count = len(prompts) * images
    if out.suffix.lower() in _OTHER_FORMATS:
        raise InputError(f"{out}: pictures are written as PNG; end the name in .png")
    if out.suffix.lower() == ".png":
        if count > 1:
            raise InputError(f"{out}: {count} pictures do not fit one file; give a folder")
        if not out.parent.is_dir():
            raise InputError(f"{out.parent}: no such folder; create it first")
        return [out]
    if not out.exists():
        if not out.absolute().parent.is_dir():
            raise InputError(f"{out.absolute().parent}: no such folder; create it first")
        out.mkdir()
    if not out.is_dir():
        raise InputError(f"{out}: is not a folder; give a folder, or a file name ending in .png")
    stems = [
        f"{re.sub(r'[^a-z0-9]+', '-', p.lower()).strip('-')[:40] or 'picture'}" for p in prompts
    ]
    # numbered by their place wherever two prompts could give one name
    plain = len(set(stems)) == len(stems)
    unique = stems if plain else [f"{i}-{s}" for i, s in enumerate(stems)]
    return [out / f"{stem}-{seed}-{index}.png" for stem in unique for index in range(images)]


def _report(
    last: GenerationStep, names: list[Path], sheet: Path | None, seconds: float, as_json: bool
) -> None:
    pictures, passes = last.pictures, last.passes
    tokens = sum(len(p.codes) for p in pictures)
    if as_json:
        files = [
            {"file": str(n), "prompt": p.prompt, "seed": p.seed, "index": p.index,
             "codes": p.codes.tolist()}
            for p, n in zip(pictures, names, strict=True)
        ]  # fmt: skip
        first = pictures[0]
        print_json(
            {
                "pictures": files,
                "contact_sheet": str(sheet) if sheet else None,
                "guidance_scale": first.guidance_scale,
                "temperature": first.temperature,
                "passes": passes,
                "codes_per_pass": (last.total - 1) / passes,
                "seconds": seconds,
                "tokens_per_second": tokens / seconds,
            }
        )
        return
    noun = "picture" if len(pictures) == 1 else "pictures"
    for name in [*names, *([sheet] if sheet else [])]:
        click.echo(name)
    click.echo(
        f"{len(pictures)} {noun} in {seconds:.1f} s, {tokens / seconds:.1f} tokens/s"
        + (
            # the first code is the prompt's
            f", {passes} passes, {(last.total - 1) / passes:.1f} codes a pass"
            if passes < last.total - 1
            else ""
        ),
        err=True,
    )
