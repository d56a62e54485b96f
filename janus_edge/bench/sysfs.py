"""Values in sysfs files."""

from __future__ import annotations

from pathlib import Path


def number(path: Path) -> float:
    """Read a number from a file; raises OSError, or ValueError if it is not a number."""
    return float(path.read_text("utf-8", "replace").strip())


def text(path: Path) -> str:
    """Read a file's text; '' if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""
