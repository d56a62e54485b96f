"""What Linux says about the host's memory, which is the GPU's as well where the GPU is integrated."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")


def available_memory(meminfo: Path = _MEMINFO) -> int | None:
    """Bytes that can be allocated without swapping; None where the system does not say.

    Linux' MemAvailable (proc(5)): free memory, and the page cache that can be given up for it.
    """
    try:
        lines = meminfo.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        name, _, value = line.partition(":")
        number, _, unit = value.strip().partition(" ")
        if name == "MemAvailable" and number.isdecimal() and unit == "kB":
            return int(number) << 10
    return None
