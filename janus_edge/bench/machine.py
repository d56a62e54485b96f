"""What a report says about the machine that it was made on: no names of hosts, people or folders."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import janus_edge
from janus_edge.processor import instructions
from janus_edge.runtime.memory import physical_memory

#: Instructions that decide how fast products of integers and floats are.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_tile", "asimddp", "i8mm", "sve")

_PACKAGES = (
    "numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx", "tokenizers",
    "nvidia-ml-py",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """Processor and memory; ``cores`` are physical, ``processors`` those that may be used.

    ``memory_bytes`` and ``cache_bytes`` (the last level of cache) are 0 where the system does not
    tell.
    """

    processor: str
    architecture: str
    instructions: tuple[str, ...]
    cores: int
    processors: int
    memory_bytes: int
    cache_bytes: int
    system: str

    def __post_init__(self) -> None:
        if min(self.cores, self.processors) < 1 or min(self.memory_bytes, self.cache_bytes) < 0:
            raise ValueError("cores must be above 0, bytes of memory and cache not below")


def describe(root: Path = Path("/")) -> Machine:
    """This machine; ``root`` is where /proc and /sys are found."""
    information = _read(root / "proc/cpuinfo")
    name = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", information, re.M)
    model = _read(root / "proc/device-tree/model").strip("\0\n ")
    flags = instructions(information)
    usable = _usable()
    return Machine(
        (name[1].strip() if name else model) or platform.processor() or platform.machine(),
        platform.machine(),
        tuple(i for i in _INSTRUCTIONS if i in flags),
        _cores(root, usable),
        len(usable),
        physical_memory() or 0,
        _last_cache(root),
        f"{platform.system()} {platform.release()}",
    )


def versions() -> dict[str, str]:
    """Versions of Python, janus-edge and what it runs on; packages that are absent are left out."""
    found = {"janus-edge": janus_edge.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _usable() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _cores(root: Path, usable: list[int]) -> int:
    """Cores among the processors that may be used; each says which others share its core."""
    folder = root / "sys/devices/system/cpu"
    shared = {_read(folder / f"cpu{n}/topology/thread_siblings_list") or str(n) for n in usable}
    return max(len(shared), 1)


def _last_cache(root: Path) -> int:
    """Bytes of the last level of the first processor's caches, 0 where the system does not tell."""
    sizes = {}
    for index in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*"):
        size = re.fullmatch(r"(\d+)([KMG]?)", _read(index / "size").strip())
        level = _read(index / "level").strip()
        if size and level.isdigit():
            sizes[int(level)] = int(size[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[size[2]]
    return sizes[max(sizes)] if sizes else 0


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
