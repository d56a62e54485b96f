"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from janus_edge.errors import InputError


@contextmanager
def written_aside(target: str | Path) -> Iterator[Path]:
    """A path beside ``target`` to write to; it takes the target's name when the block is left.

    After an error nothing stays. Raises InputError when the file cannot be written.
    """
    final = Path(target)
    aside = final.with_name(f".{final.name}.{os.getpid()}.partial")
    try:
        yield aside
        aside.replace(final)
    except OSError as failure:
        reason = failure.strerror or failure
        raise InputError(f"{final}: cannot be written ({reason})") from failure
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
