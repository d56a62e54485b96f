"""What commands share on the screen: tables, progress bars, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from rich.progress import Progress


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; a column whose name ends in ``>`` is aligned to the right.

    Only the last column is folded where the screen is too narrow.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_header=any(columns),
    )
    for column in columns:
        right = column.endswith(">")
        align: Literal["right", "left"] = "right" if right else "left"
        table.add_column(
            column.rstrip(">"), justify=align, overflow="fold", no_wrap=column != columns[-1]
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


def size(nbytes: int) -> str:
    """Bytes in the unit that reads best: ``4.1 MiB``."""
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"


def progress_bar(*columns: Any, transient: bool = False) -> Progress:
    """A progress display on standard error, which stays out of piped output."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(stderr=True, highlight=False), transient=transient)


@contextmanager
def byte_tasks() -> Iterator[Any]:
    """A factory of progress bars over bytes: ``with task(name, total) as advance: advance(n)``."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn

    with progress_bar(
        TextColumn("{task.description:<28}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    ) as bars:

        @contextmanager
        def task(name: str, total: int) -> Iterator[Any]:
            identity = bars.add_task(name, total=total or None)
            yield lambda done: bars.advance(identity, done)
            done = bars.tasks[identity].completed
            bars.update(identity, total=done or 1, completed=done or 1)

        yield task
