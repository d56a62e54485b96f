"""`janus-edge parity` between two bundles: measuring, tables, verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from janus_edge.cli.console import print_json, print_table, progress_bar
from janus_edge.errors import InputError, ParityError

if TYPE_CHECKING:
    from janus_edge.runtime.bundle_parity import Bars, BundleParity


def report_bundles(
    reference: str, bundle: str, settings: dict[str, Any], bars: dict[str, float | None], *,
    threads: int, as_json: bool,
) -> None:  # fmt: skip
    """Compare ``bundle`` with the bundle ``reference`` and print the figures.

    ``settings`` are fields of MeasuringOptions, ``bars`` those of Bars. Raises ParityError where a
    bar is missed or a value is not finite, InputError for settings that cannot be used.
    """
    from janus_edge.runtime.bundle_parity import Bars, compare_bundles
    from janus_edge.runtime.measuring_options import MeasuringOptions
    from janus_edge.runtime.pipeline import Janus

    for name, bar in bars.items():
        if bar is not None and not math.isfinite(bar):
            raise InputError(f"--{name.replace('_', '-')} must be a finite number, found {bar}")
    options, wanted = MeasuringOptions(**settings), Bars(**bars)
    with (
        Janus.load(reference, threads=threads) as parent,
        Janus.load(bundle, threads=threads) as janus,
        _bars() as progress,
    ):
        found = compare_bundles(parent, janus, options, progress)
    if not found.same_source:
        click.echo("note: the bundles were exported from different checkpoints", err=True)
    missed = wanted.missed(found)
    if as_json:
        _print_json(found, wanted, missed)
    else:
        _print_tables(found, reference, bundle)
    if missed:
        raise ParityError(f"{bundle} is too far from {reference}: {'; '.join(missed)}")


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars, one for each thing that is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    with progress_bar(*columns, TimeElapsedColumn()) as display:
        tasks: dict[str, Any] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = display.add_task(what, total=total)
            display.update(tasks[what], completed=done)

        yield update


def _print_json(found: BundleParity, bars: Bars, missed: tuple[str, ...]) -> None:
    from janus_edge.schema import to_dict

    verdict = {"bars": to_dict(bars), "missed": list(missed), "passed": not missed}
    print_json({**to_dict(found), **verdict})


def _print_tables(found: BundleParity, reference: str, bundle: str) -> None:
    rows: list[tuple[str, ...]] = [
        (
            name,
            _number(g.snr_db, ".1f"),
            _number(g.psnr_db, ".1f"),
            _number(g.cosine, ".7f"),
            _number(g.max_abs, ".1e"),
            _number(g.mean_abs, ".1e"),
            _number(g.top1, ".1%"),
        )
        for name, g in found.graphs.items()
    ]
    title = f"{bundle} ({found.recipe}) against {reference} ({found.reference_recipe})"
    columns = ["graph", "SNR dB>", "PSNR dB>", "cosine>", "max>", "mean>", "top-1>"]
    print_table(f"{title}\non the reference's inputs", columns, rows)
    scale, temperature = found.guidance_scale, found.temperature
    forced = found.forced
    rows = [
        (
            name,
            *(f"{kl:.3g}" for kl in (d.kl_mean, d.kl_p99, d.kl_max)),
            f"{d.top1:.1%}",
            f"{d.snr_db:.1f}",
            f"{d.rows}",
        )
        for name, d in (
            (f"image, guidance {scale:g}", forced.guided),
            ("image, no guidance", forced.conditional),
            ("text", forced.text),
        )
    ]
    columns = ["logits", "KL mean>", "p99>", "max>", "top-1>", "SNR dB>", "positions>"]
    title = f"after the reference's codes and answers; KL in nats at temperature {temperature:g}"
    print_table(title, columns, rows)
    for run in found.free_running:
        where = run.first_difference
        tail = "all equal" if where is None else f"first difference at code {where}"
        click.echo(
            f"painted freely with the same noise: {run.equal_codes} of {run.codes} codes equal, "
            f"{tail} ({run.prompt})"
        )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
