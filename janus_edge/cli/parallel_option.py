"""``--parallel off|auto|W``, for every command that paints."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click


def parallel_option(help_text: str) -> Callable[[Any], Any]:
    """The option; what is neither a word nor a width is refused by whoever paints."""
    return click.option(
        "--parallel", default="off", show_default=True, metavar="off|auto|W", callback=_value, help=help_text
    )  # fmt: skip


def _value(_context: click.Context, _option: click.Parameter, text: str) -> str | int:
    """A number as one, anything else as it is: :meth:`Janus.generate` knows what is right."""
    return int(text) if re.fullmatch(r"-?\d+", text) else text
