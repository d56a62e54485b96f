"""What a committed result says about the machine that made it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import datetime, timezone
from pathlib import Path

TOOLS = ("janus-edge", "torch", "transformers", "onnx", "onnxruntime", "numpy")


def describe() -> dict[str, object]:
    """Processor, cores, memory, versions of the tools, date."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    flags = Path("/proc/cpuinfo").read_text()
    return {
        "processor": model,
        "instructions": [
            f for f in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if f" {f} " in flags
        ],
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {tool: version(tool) for tool in TOOLS},
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def version(tool: str) -> str:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return "from the working tree" if tool == "janus-edge" else "absent"
