"""`janus-edge bench`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from janus_edge.atomic_file import written_aside
from janus_edge.cli.console import print_table
from janus_edge.cli.parallel_option import parallel_option
from janus_edge.errors import InputError

if TYPE_CHECKING:
    from janus_edge.bench import Report

#: must equal janus_edge.bench.options.MODES, which --help would pay for importing
_MODES = ("image", "text")

#: A display is drawn at most so often, off the clock.
_REDRAW_SECONDS = 0.25


def _numbers(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[int, ...]:
    """Whole numbers with commas between them; none for an option that was not given."""
    try:
        return tuple(int(part) for part in value.split(",")) if value is not None else ()
    except ValueError:
        raise click.BadParameter(
            f"'{value}': give whole numbers with commas between them"
        ) from None


def _sweep(option: str, text: str) -> Callable[[Any], Any]:
    return click.option(f"--sweep-{option}", metavar="N,N,...", callback=_numbers, help=text)


@click.command(short_help="Measure each stage, and how near a step is to the limit.")
@click.argument("bundle", type=click.Path(), required=False)
@click.option("--only", "modes", type=click.Choice(_MODES), multiple=True, help="Only painting, or only answering.")  # fmt: skip
@click.option("--repetitions", default=5, show_default=True, help="Requests that are measured.")
@click.option("--warm-up", default=1, show_default=True, help="Requests before them that are not.")
@click.option("--steps", default=64, show_default=True, help="Codes of each picture that are drawn.")  # fmt: skip
@click.option("--whole", is_flag=True, help="Paint whole pictures.")
@click.option("--answer-tokens", default=64, show_default=True, help="Tokens of each answer.")
@click.option("--pictures", default=1, show_default=True, help="Pictures of each prompt, 1 to 16.")
@click.option("--prompts", default=1, show_default=True, help="Prompts in a batch, 1 to 16.")
@parallel_option("Paint several codes a pass, every request with a seed of its own.")
@_sweep("pictures", "Measure at these numbers of pictures of one prompt.")
@_sweep("prompts", "Measure at these numbers of prompts in a batch.")
@_sweep("parallel", "Measure painting at these numbers of codes a pass.")
@_sweep("prompt-length", "Measure at these numbers of tokens of the prompt.")
@_sweep("capacity", "Measure answers at these numbers of positions of the cache.")
@click.option("--sweep-steps", default=12, show_default=True, help="Codes or tokens at each point.")
@click.option("--prompt", help="What to paint.")
@click.option("--question", help="What to ask.")
@click.option("--image", type=click.Path(), help="What to ask about; a shipped photograph if not given.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@click.option("--threads", default=0, help="Processor threads; 0 takes one per core.")
@click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Write the report to FILE as JSON.")  # fmt: skip
@click.option("--html", "html_file", type=click.Path(), metavar="FILE", help="Write the report to FILE as a page.")  # fmt: skip
@click.option("--compare", "compared", type=click.Path(), nargs=2, metavar="A B", help="Compare two files that --json wrote; measures nothing.")  # fmt: skip
def bench(
    bundle: str | None, modes: tuple[str, ...], steps: int, whole: bool, image: str | None,
    json_file: str | None, html_file: str | None, compared: tuple[str, str] | None, **given: Any,
) -> None:  # fmt: skip
    """Measure a BUNDLE or an engine on this machine, stage by stage.

    Painting and answering run through the runtime's own loops, with a clock around each call. A step
    is set against the time in which this machine could read the bytes that it needs.

    \b
    Example:  janus-edge bench janus-1b --json before.json --html before.html
    Example:  janus-edge bench janus-1b --sweep-pictures 1,2,4,8,16
    Example:  janus-edge bench janus-1b --parallel auto --whole --sweep-parallel 1,2,4,8,16,32
    Example:  janus-edge bench --compare before.json after.json
    """
    if compared:
        _only_compare(click.get_current_context())
        _compare(*compared)
        return
    if bundle is None:
        raise InputError("no bundle was given; name one, or two reports with --compare A B")
    targets = [_target(f, kind) for f, kind in ((json_file, ".json"), (html_file, ".html")) if f]
    if len({t.resolve() for t in targets}) < len(targets):
        raise InputError(f"{targets[0]}: --json and --html need two files")
    from janus_edge.bench import Options, measure

    prefix = "sweep_"
    sweeps = {
        name.removeprefix(prefix): given.pop(name)
        for name in [n for n in given if n.startswith(prefix) and n != "sweep_steps"]
    }
    words = {k: v for k in ("prompt", "question") if (v := given.pop(k)) is not None}
    options = Options(
        modes=tuple(m for m in _MODES if m in modes) or _MODES,
        steps=None if whole else steps,
        sweeps={name: values for name, values in sweeps.items() if values},
        **given,
        **words,
    )
    with _bars() as progress:
        report = measure(bundle, options, image, progress)
    if json_file:
        text = json.dumps(report.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        _write(json_file, text)
    if html_file:
        from janus_edge.bench.page import page

        _write(html_file, page(report))
    _show(report)
    for target in targets:
        click.echo(target, err=True)


def _target(name: str, suffix: str) -> Path:
    """Refuse now what could not be written after minutes of measuring."""
    path = Path(name)
    if path.suffix.lower() != suffix or path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path}: give --{suffix[1:]} a {suffix} file in an existing folder")
    return path


def _write(name: str, text: str) -> None:
    with written_aside(name) as aside:
        aside.write_text(text, "utf-8")


def _only_compare(context: click.Context) -> None:
    """Options that would be ignored are errors."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name != "compared" and source is click.core.ParameterSource.COMMANDLINE:
            shown = parameter.opts[0] if parameter.opts[0].startswith("-") else "a BUNDLE"
            raise InputError(
                f"{shown} is for measuring, and --compare measures nothing: leave it out"
            )


def _compare(first: str, second: str) -> None:
    from janus_edge.bench import Report, compare
    from janus_edge.bench.tables import comparison_tables

    reports = Report.load(first), Report.load(second)
    found = compare(*reports)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    for name, report in zip(("first", "second"), reports, strict=True):
        click.echo(f"{name}: {report.subject.name}, {report.subject.precision}, {report.date}")
    for table in comparison_tables(found):
        print_table(table.title, table.columns, table.rows)
    if found.left_out:
        click.echo(f"in one of them only: {', '.join(found.left_out)}")
    if not found.ratios:
        raise InputError(f"{first} and {second} have no mode in common; measure both in one mode")


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars that are drawn only when they are told something: no thread disturbs the clock."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn())
    screen = Console(stderr=True, highlight=False)
    tasks: dict[str, TaskID] = {}
    drawn = 0.0
    with Progress(*columns, TimeElapsedColumn(), console=screen, auto_refresh=False) as display:

        def update(what: str, done: int, total: int) -> None:
            nonlocal drawn
            new = what not in tasks
            if new:
                tasks[what] = display.add_task(what, total=total)
            now = time.monotonic()
            if new or done >= total or now - drawn > _REDRAW_SECONDS:
                drawn = now
                display.update(tasks[what], completed=done, refresh=True)

        yield update


def _show(report: Report) -> None:
    from janus_edge.bench import labels
    from janus_edge.bench.tables import report_tables

    for table in report_tables(report):
        print_table(table.title, table.columns, table.rows)
    for note in labels.notes(report):
        click.echo(note)
