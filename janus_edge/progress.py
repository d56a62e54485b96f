"""How long work tells what it does: a display opens a line by its name and gets a row to fill."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Row(Protocol):
    """One line of a progress display: what is being done, and how much of it."""

    def state(self, text: str) -> None:
        """Say what is being done now."""

    def begin(self, total: int) -> None:
        """Start counting to ``total`` bytes."""

    def advance(self, done: int) -> None:
        """``done`` more bytes are done."""


#: Opens a line of progress by its name.
Task = Callable[[str], AbstractContextManager[Row]]


class _Silent:
    """The row of nobody watching."""

    def state(self, text: str) -> None:
        pass

    def begin(self, total: int) -> None:
        pass

    def advance(self, done: int) -> None:
        pass


def silent(_name: str) -> AbstractContextManager[Row]:
    """The task of nobody watching."""
    return nullcontext(_Silent())
