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


class ByteRow:
    """A line of a progress display over bytes: its name, what is being done, how much of it."""

    def __init__(self, bars: Progress, name: str) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=None, state="")

    def state(self, text: str) -> None:
        """Say what is being done now."""
        self._bars.update(self._task, state=text)

    def begin(self, total: int) -> None:
        """Start counting to ``total`` bytes."""
        self._bars.update(self._task, total=total, completed=0)

    def advance(self, done: int) -> None:
        """``done`` more bytes are done."""
        self._bars.advance(self._task, done)

    def finish(self) -> None:
        """Stop the clock of this line."""
        done = self._bars.tasks[self._task].completed
        self._bars.update(self._task, total=done or 1, completed=done or 1)


@contextmanager
def byte_tasks() -> Iterator[Any]:
    """Opens a display; its value opens a line: ``with task(name) as row: row.advance(n)``."""
    from rich.filesize import decimal
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Size(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(decimal(int(task.completed)) if task.completed > 1 else "")

    with progress_bar(
        TextColumn("{task.description:<18}"),
        BarColumn(24),
        TextColumn("{task.fields[state]:<10}"),
        TimeElapsedColumn(),
        Size(),
    ) as bars:

        @contextmanager
        def task(name: str) -> Iterator[ByteRow]:
            row = ByteRow(bars, name)
            yield row
            row.finish()

        yield task
