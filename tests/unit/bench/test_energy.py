"""Meters of energy, on a system of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.bench.energy import EnergyMeter
from tests.unit.bench.reports import ticking

RAPL = "sys/class/powercap/intel-rapl:0"


def write(root: Path, name: str, /, **files: object) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in files.items():
        (folder / file).write_text(f"{value}\n")
    return folder


def rapl(root: Path, name: str, what: str, microjoules: int) -> Path:
    return write(root, name, name=what, energy_uj=microjoules, max_energy_range_uj=1_000_000)


def test_counters(tmp_path: Path) -> None:
    """Packages are summed, their parts are contained in them, and a counter may begin anew."""
    first = rapl(tmp_path, RAPL, "package-0", 900_000)
    second = rapl(tmp_path, "sys/class/powercap/intel-rapl:1", "package-1", 100)
    part = rapl(tmp_path, "sys/class/powercap/intel-rapl:0:0", "core", 0)
    with EnergyMeter(tmp_path, ticking(3)) as meter:
        (first / "energy_uj").write_text("400000")
        (second / "energy_uj").write_text("250100")
        (part / "energy_uj").write_text("999999")
    assert meter.energy.joules == pytest.approx(0.5 + 0.25)
    assert meter.energy.source == "RAPL (package-0, package-1)"
    assert meter.energy.seconds == 3


def test_the_board_contains_its_packages(tmp_path: Path) -> None:
    rapl(tmp_path, RAPL, "package-0", 0)
    board = rapl(tmp_path, "sys/class/powercap/intel-rapl:1", "psys", 0)
    with EnergyMeter(tmp_path) as meter:
        (board / "energy_uj").write_text("700000")
    assert (meter.energy.joules, meter.energy.source) == (0.7, "RAPL (psys)")


def test_power_sensors(tmp_path: Path) -> None:
    """Constant power over time is their product, whatever the moments of reading."""
    write(tmp_path, "sys/class/hwmon/hwmon0", name="coretemp", power1_input=9)
    write(
        tmp_path, "sys/class/hwmon/hwmon1", name="ina226", power1_input=5_000_000, power1_label="5V"
    )
    with EnergyMeter(tmp_path, ticking(1)) as meter:
        pass
    joules = meter.energy.joules
    assert joules is not None
    assert joules > 0
    assert joules % 5 == 0
    assert joules / 5 < meter.energy.seconds
    assert meter.energy.source == "INA sensors (5V)"


def test_voltage_and_current(tmp_path: Path) -> None:
    """A Jetson's rails: 5 V times 2 A; the module's input contains the others."""
    folder = "sys/class/hwmon/hwmon0"
    write(tmp_path, folder, name="ina3221", in1_label="VDD_IN", in1_input=5000, curr1_input=2000)
    write(tmp_path, folder, in2_label="VDD_SOC", in2_input=1000, curr2_input=1000)
    with EnergyMeter(tmp_path, ticking(1)) as meter:
        pass
    assert meter.energy.source == "INA sensors (VDD_IN)"
    assert meter.energy.joules is not None
    assert meter.energy.joules > 0
    assert meter.energy.joules % 10 == 0


def test_none(tmp_path: Path) -> None:
    """What was looked for is told, and how long it took all the same."""
    with EnergyMeter(tmp_path, ticking(2)) as meter:
        pass
    assert meter.energy.joules is None
    assert meter.energy.seconds == 2
    assert "no RAPL counter" in meter.energy.source
    assert "no INA sensor" in meter.energy.source


def test_counters_that_may_not_be_read(tmp_path: Path) -> None:
    """As without rights: the file is there, and reading it fails."""
    (tmp_path / RAPL / "energy_uj").mkdir(parents=True)
    with EnergyMeter(tmp_path) as meter:
        pass
    assert meter.energy.joules is None
    assert "read by root only" in meter.energy.source
