"""Snapshot of a machine as JSON, for fault reports rather than measurements."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from janus_edge.bench.instruments import find_instruments
from janus_edge.bench.machine import describe, versions
from janus_edge.bench.nvml import Nvml, open_nvml
from janus_edge.bench.power_mode import query_nvpmodel
from janus_edge.bench.sampler import UNREADABLE, EnergyCounter
from janus_edge.bench.sysfs import text
from janus_edge.cuda_driver import first_gpu
from janus_edge.errors import BackendError

#: Environment variables that affect a run; no others are read.
ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES", "CUDA_MODULE_LOADING", "CUDA_CACHE_DISABLE", "CUDA_DEVICE_MAX_CONNECTIONS",
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MALLOC_ARENA_MAX", "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES", "ORT_DISABLE_TELEMETRY", "JANUS_EDGE_CACHE", "LANG",
)  # fmt: skip

_MEMORY = (
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Cached",
    "SwapTotal",
    "SwapFree",
    "CmaTotal",
    "CmaFree",
)


def snapshot(
    root: Path = Path("/"),
    environment: Mapping[str, str] = os.environ,
    query: Callable[[], str] = query_nvpmodel,
    nvml: Callable[[], tuple[Nvml | None, str]] = open_nvml,
) -> dict[str, Any]:
    """Processor, memory, GPU, driver, system, power mode, clocks, rails; or why they are unknown."""
    return {
        "machine": asdict(describe(root)),
        "board": text(root / "proc/device-tree/model") or None,
        "jetson_linux": text(root / "etc/nv_tegra_release").partition("\n")[0] or None,
        "versions": versions(),
        "gpu": _gpu(),
        "driver": _driver(root),
        "memory_bytes": _memory(root),
        "sensors": _sensors(root, query, nvml),
        "environment": {name: environment[name] for name in ENVIRONMENT if name in environment},
    }


def _gpu() -> dict[str, Any]:
    try:
        return asdict(first_gpu())
    except BackendError as missing:
        return {"missing": str(missing)}


def _driver(root: Path) -> str | None:
    """Version of the kernel module of a discrete GPU, or of a Jetson with JetPack 7."""
    found = re.search(
        r"Kernel Module.*?\s(\d+\.[\d.]*\d)", text(root / "proc/driver/nvidia/version")
    )
    return found[1] if found else None


def _memory(root: Path) -> dict[str, int]:
    lines = dict(
        line.split(":", 1) for line in text(root / "proc/meminfo").splitlines() if ":" in line
    )
    kilobytes = {name: lines[name].split()[0] for name in _MEMORY if name in lines}
    return {name: int(size) * 1024 for name, size in kilobytes.items() if size.isdigit()}


def _sensors(
    root: Path, query: Callable[[], str], nvml: Callable[[], tuple[Nvml | None, str]]
) -> dict[str, Any]:
    """One reading of everything that a benchmark would sample."""
    found = find_instruments(root, gpu=True, query=query, nvml=nvml)
    try:
        return {
            "power_mode": found.settings.power_mode,
            "clocks_held": found.settings.clocks_held,
            "readings": {f"{g.name} ({g.unit})": _read(g.read) for g in found.gauges},
            "energy": {
                sensor.name: "counter" if isinstance(sensor, EnergyCounter) else _read(sensor.watts)
                for sensor in found.sensors
            },
            "missing": [*found.settings.missing, *found.no_energy],
        }
    finally:
        found.close()


def _read(read: Callable[[], float]) -> float | None:
    try:
        return round(read(), 3)
    except UNREADABLE:
        return None
