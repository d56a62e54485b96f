"""`janus-edge evaluate`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click

from janus_edge.atomic_file import written_aside
from janus_edge.cli.comparison_output import show_comparison
from janus_edge.cli.console import print_json, print_table, progress_bar
from janus_edge.cli.parallel_option import parallel_option
from janus_edge.errors import DependencyError, InputError

if TYPE_CHECKING:
    from PIL import Image

    from janus_edge.evaluation import Painted, Painting, Report
    from janus_edge.evaluation.report import ScaleScore, Share, Understanding
    from janus_edge.runtime.generation import Parallel

#: must equal janus_edge.evaluation.options.PARTS, which --help would pay for importing
_PARTS = ("painting", "understanding", "reconstruction")
#: must equal len(janus_edge.shapes.prompts.CATEGORIES)
_CATEGORIES = 7
_EXAMPLES = 8  # wrong answers that are shown


@click.command(short_help="Measure how good a miniature's pictures and answers are.")
@click.argument("bundle", type=click.Path())
@click.option(
    "--guidance", "scales", type=float, multiple=True, default=(1.0, 3.0, 5.0),
    show_default=True, help="A guidance scale to paint at; give it several times for several.",
)  # fmt: skip
@click.option("--prompts", type=click.IntRange(1), default=16, show_default=True,
              help="Prompts of each category, painted at each scale.")  # fmt: skip
@click.option("--pictures", type=click.IntRange(1),
              help="Instead of --prompts: pictures at each scale, rounded up to whole rounds.")  # fmt: skip
@click.option("--questions", type=click.IntRange(1), default=40, show_default=True,
              help="Questions of each kind.")  # fmt: skip
@click.option("--scenes", type=click.IntRange(1), default=100, show_default=True,
              help="Scenes that are turned into codes and back.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Chooses prompts, scenes and noise.")
@click.option("--only", "parts", type=click.Choice(_PARTS), multiple=True,
              help="Only this part; give it several times for several.")  # fmt: skip
@parallel_option("Paint several codes a pass, as `generate` does.")
@click.option("--record", "record_path", type=click.Path(),
              help="A .jsonl file that keeps every picture's outcome; what it has is not painted again.")  # fmt: skip
@click.option("--against", type=click.Path(),
              help="A reference's --record: compare picture by picture, stop when it is settled.")  # fmt: skip
@click.option("--within", "margin", type=click.FloatRange(0, 100, min_open=True, max_open=True),
              default=1.0, show_default=True, help="With --against: the loss in question, in points.")  # fmt: skip
@click.option("--sheet", type=click.Path(), help="A .png file for right and wrong pictures of the best scale.")  # fmt: skip
@click.option("--threads", default=0, help="Processor threads; 0 takes one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print the full report as JSON.")
def evaluate(
    bundle: str, scales: tuple[float, ...], prompts: int, questions: int, scenes: int, seed: int,
    parts: tuple[str, ...], parallel: Parallel, sheet: str | None, threads: int, as_json: bool,
    pictures: int | None, record_path: str | None, against: str | None, margin: float,
) -> None:  # fmt: skip
    """Measure how good the pictures and answers of a BUNDLE are: one of the world of shapes.

    Pictures are painted of prompts in GenEval's categories and read back by a program, questions
    are asked about scenes whose answers are known, and scenes are turned into codes and back.

    Example:  janus-edge evaluate miniature --sheet pictures.png

    To show that a recipe loses less than a point, paint the same pictures with both, 28 at a time:

    \b
      janus-edge evaluate float --only painting --guidance 6 --parallel 8 \\
        --pictures 10000 --record float.jsonl
      janus-edge evaluate int8 --only painting --guidance 6 --parallel 8 \\
        --pictures 10000 --record int8.jsonl --against float.jsonl --within 1
    """
    try:
        from janus_edge.evaluation import Options, Pairing, Record
        from janus_edge.evaluation import evaluate as run
        from janus_edge.evaluation.contact_sheet import contact_sheet
    except ImportError as missing:
        raise DependencyError.missing(
            (missing.name or "scipy").partition(".")[0], "eval"
        ) from missing
    from janus_edge.runtime.pipeline import Janus

    if pictures:
        prompts = math.ceil(pictures / _CATEGORIES)
    options = Options(scales, prompts, questions, scenes, seed, parts or _PARTS, parallel)
    if sheet:
        _check_sheet(Path(sheet), options.parts, record_path)
    if (record_path or against) and "painting" not in options.parts:
        raise InputError("--record and --against are about pictures: add --only painting")
    pairing = Pairing(Record.read(against), margin / 100, prompts) if against else None
    shown: list[tuple[Painted, Image.Image]] = []

    def look(painted: Painted, image: Image.Image) -> None:
        if sheet:
            shown.append((painted, image))

    with Janus.load(bundle, threads=threads) as janus, _bars() as progress:
        record = None
        if record_path:
            bundle_ = janus.bundle
            record = Record.open(record_path, bundle_.digest, bundle_.manifest.recipe.name)
        report = run(janus, options, progress, look, record, pairing)
    # the report first: a full disk must not cost it
    if as_json:
        print_json(report.to_json())
    else:
        _show(report)
    if sheet and report.painting:
        with written_aside(sheet) as aside:
            contact_sheet(report.painting.best, shown).save(aside, "PNG")
        click.echo(sheet, err=True)


def _check_sheet(path: Path, parts: tuple[str, ...], record: str | None) -> None:
    """Refuse now what could not be written after minutes of painting."""
    if record:
        raise InputError("--sheet shows what this run paints, and --record skips some: give one")
    if "painting" not in parts:
        raise InputError("--sheet shows what was painted: add --only painting")
    if path.suffix.lower() != ".png" or path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: give --sheet a .png file in an existing folder")


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for each part that begins: the block's value takes (part, done, total)."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[speed]}"),
    )  # fmt: skip
    with progress_bar(*columns) as bars:
        tasks = {}

        def progress(part: str, done: int, total: int) -> None:
            if part not in tasks:
                tasks[part] = bars.add_task(part, total=total, speed="")
            elapsed = bars.tasks[tasks[part]].elapsed
            speed = f"{done / elapsed:.1f}/s" if done and elapsed else ""
            bars.update(tasks[part], completed=done, speed=speed)

        yield progress


def _show(report: Report) -> None:
    if report.painting:
        _show_painting(report.painting)
        _show_faults(report.painting.best)
    if report.comparison:
        show_comparison(report.comparison)
    if report.understanding:
        _show_understanding(report.understanding)
    if report.reconstruction:
        found = report.reconstruction
        click.echo(
            f"{found.legible.total} scenes turned into codes and back: mean PSNR "
            f"{found.mean_psnr_db:.1f} dB, still read right {_percent(found.legible)}"
        )
    seconds = ", ".join(f"{part} {s:.0f} s" for part, s in report.seconds.items())
    click.echo(f"ranges are 95 % intervals; {report.precision}; {seconds}")


def _show_painting(painting: Painting) -> None:
    """Categories by guidance scales."""
    categories = painting.scales[0].categories
    rows = [
        [name, *(_percent(scale.categories[name].score) for scale in painting.scales)]
        for name in categories
    ]
    rows.append(["overall", *(_percent(scale.overall) for scale in painting.scales)])
    each = next(iter(categories.values())).score.total
    columns = [f"scale {scale.guidance_scale:g}>" for scale in painting.scales]
    print_table(f"right pictures, {each} a category", ["category", *columns], rows)


def _show_faults(scale: ScaleScore) -> None:
    kinds = list(dict.fromkeys(kind for c in scale.categories.values() for kind in c.faults))
    if not kinds:
        return
    rows = [
        [name, *(str(category.faults.get(kind, "")) for kind in kinds)]
        for name, category in scale.categories.items()
    ]
    title = f"faults at the best scale, {scale.guidance_scale:g}"
    print_table(title, ["category", *(f"{kind}>" for kind in kinds)], rows)


def _show_understanding(found: Understanding) -> None:
    rows = [(kind, _percent(share)) for kind, share in found.kinds.items()]
    rows.append(("overall", _percent(found.overall)))
    each = next(iter(found.kinds.values())).total
    print_table("right answers", [f"{each} questions of", ">"], rows)
    by_kind = ([a for a in found.answers if a.kind == k and not a.right] for k in found.kinds)
    # of every kind the first, then of every kind the second
    wrong = [a for once in zip_longest(*by_kind) for a in once if a][:_EXAMPLES]
    # lines, since descriptions are too long for columns
    for a in wrong:
        click.echo(f"wrong: {a.question} It is '{a.expected}', it said '{_shortened(a.said)}'.")
    click.echo()


def _shortened(said: str) -> str:
    """What a model said, on one line: an untrained one says anything."""
    safe = "".join(c if c.isprintable() else " " for c in said)
    return textwrap.shorten(" ".join(c[:30] for c in safe.split()), 60, placeholder=" ...")


def _percent(share: Share) -> str:
    return f"{share.share:.0%} {100 * share.low:.0f}-{100 * share.high:.0f}"
