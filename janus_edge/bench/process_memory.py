"""Peak memory of this process, and of the device where the backend tells."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

_PROCESS = Path("/proc/self")


@runtime_checkable
class ReportsDeviceMemory(Protocol):
    """A backend that tells how much of its device's memory it took."""

    def device_memory_peak(self) -> int:
        """Bytes of the device at most until now."""
        ...


def reset_peak(process: Path = _PROCESS) -> bool:
    """Count the peak from here; False where the system cannot (then it is since the start)."""
    with suppress(OSError):
        (process / "clear_refs").write_text("5")  # proc(5): the peak becomes what is resident now
        return True
    return False


def peak(process: Path = _PROCESS) -> int | None:
    """Bytes that were resident at most, None where the system does not tell."""
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s*(\d+) kB$", (process / "status").read_text("utf-8"), re.M)
        if found:
            return int(found[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
