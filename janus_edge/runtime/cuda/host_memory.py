"""Linux's figures of host memory, which an integrated GPU shares."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")


def available_memory(meminfo: Path = _MEMINFO) -> int | None:
    """Bytes that can be allocated without swapping; None if the system does not report it.

    This is Linux's MemAvailable (proc(5)): free memory and reclaimable page cache.
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
