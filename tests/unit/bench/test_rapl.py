"""RAPL's counters, in a folder laid out as Linux does."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.bench.energy import EnergyMeter
from janus_edge.bench.rapl import rapl_counters
from tests.unit.bench.trees import write

RAPL = "sys/class/powercap/intel-rapl:"


def counter(root: Path, number: str, name: str, microjoules: int) -> Path:
    folder = f"{RAPL}{number}"
    write(root, {
        f"{folder}/name": name, f"{folder}/energy_uj": microjoules,
        f"{folder}/max_energy_range_uj": 1_000_000,
    })  # fmt: skip
    return root / folder / "energy_uj"


def test_packages(tmp_path: Path) -> None:
    """Packages are summed, their parts are counted inside them, and a counter wraps around."""
    first = counter(tmp_path, "0", "package-0", 900_000)
    second = counter(tmp_path, "1", "package-1", 100)
    part = counter(tmp_path, "0:0", "core", 0)
    sensors, why = rapl_counters(tmp_path)
    assert why == ""
    with EnergyMeter(sensors, interval=1e6) as meter:
        first.write_text("400000")
        second.write_text("250100")
        part.write_text("999999")
    assert meter.energy.joules == pytest.approx(0.5 + 0.25)
    assert meter.energy.source == "RAPL (package-0, package-1)"


def test_the_board_contains_its_packages(tmp_path: Path) -> None:
    counter(tmp_path, "0", "package-0", 0)
    counter(tmp_path, "1", "psys", 0)
    assert [sensor.name for sensor in rapl_counters(tmp_path)[0]] == ["psys"]


def test_none(tmp_path: Path) -> None:
    assert rapl_counters(tmp_path) == ([], "no RAPL counter in /sys/class/powercap")


def test_without_permission(tmp_path: Path) -> None:
    """A file that exists and cannot be read (here: it is a folder) gives the reason."""
    (tmp_path / f"{RAPL}0/energy_uj").mkdir(parents=True)
    found, why = rapl_counters(tmp_path)
    assert (found, "only root may read" in why) == ([], True)
