"""Values in sysfs files."""

from __future__ import annotations

from pathlib import Path


def number(path: Path) -> float:
    """The number in a file; raises OSError, or ValueError for what is not a number."""
    return float(path.read_text("utf-8", "replace").strip())


def text(path: Path) -> str:
    """The words in a file, '' where it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""
