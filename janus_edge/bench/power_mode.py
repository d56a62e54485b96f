"""A Jetson's power mode, as set by `nvpmodel`.

`nvpmodel -q` prints 'NV Power Mode: MAXN_SUPER' and the mode's number. Without the tool (a container)
/var/lib/nvpmodel/status has the number ('pmode:0002') and /etc/nvpmodel.conf the names
('< POWER_MODEL ID=2 NAME=MAXN_SUPER >').
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from janus_edge.bench.sysfs import text

_SECONDS = 5


def query_nvpmodel() -> str:
    """The output of `nvpmodel -q`; '' if it cannot be run."""
    try:
        done = subprocess.run(
            ["nvpmodel", "-q"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def power_mode(root: Path, query: Callable[[], str] = query_nvpmodel) -> tuple[str | None, str]:
    """The mode's name and number ('MAXN_SUPER (2)'), or None and the reason."""
    told = re.search(r"NV Power Mode:\s*(\S+)\s+(\d+)", query())
    if told:
        return f"{told[1]} ({int(told[2])})", ""
    status = re.search(r"pmode:(\d+)", text(root / "var/lib/nvpmodel/status"))
    if not status:
        return None, "power mode: found neither in `nvpmodel -q` nor in /var/lib/nvpmodel/status"
    mode = int(status[1])
    for line in text(root / "etc/nvpmodel.conf").splitlines():
        model = re.match(r"\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", line)
        if model and int(model[1]) == mode:
            return f"{model[2]} ({mode})", ""
    return f"({mode})", ""
