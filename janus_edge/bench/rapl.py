"""RAPL: the energy counters of x86 processors, in Linux' /sys/class/powercap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from janus_edge.bench.sampler import UNREADABLE, EnergyCounter
from janus_edge.bench.sysfs import number, text


def rapl_counters(root: Path) -> tuple[list[EnergyCounter], str]:
    """The counters of the packages, or of the whole board ('psys'); if there are none, the reason.

    Parts of a package (core, uncore, dram) are left out, because the package contains them. Some
    processors count dram separately.
    """
    folders = [
        folder
        for folder in sorted((root / "sys/class/powercap").glob("*-rapl:*"))
        if folder.name.count(":") == 1
    ]
    found = [counter for folder in folders for counter in _readable(folder)]
    board = [counter for counter in found if counter.name == "psys"]
    if found:
        return board or found, ""
    if any((folder / "energy_uj").exists() for folder in folders):
        return [], "only root may read the RAPL counters in /sys/class/powercap"
    return [], "no RAPL counter in /sys/class/powercap"


def _readable(folder: Path) -> list[EnergyCounter]:
    joules = _counter(folder / "energy_uj")
    try:
        joules()
        wraps_after = number(folder / "max_energy_range_uj") / 1e6
    except UNREADABLE:
        return []
    return [EnergyCounter("RAPL", text(folder / "name") or folder.name, joules, wraps_after)]


def _counter(file: Path) -> Callable[[], float]:
    return lambda: number(file) / 1e6
