"""A Jetson's rails, on recorded layouts of sysfs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from janus_edge.bench.energy import EnergyMeter
from janus_edge.bench.ina import ina_rails
from tests.unit.bench.trees import HWMON, agx_orin, ina3221, orin_nano, thor, write


def rails(root: Path) -> dict[str, tuple[float, bool]]:
    """Return watts by name and whether they are counted; every rail appears once."""
    found = ina_rails(root)[0]
    assert len({rail.name for rail in found}) == len(found)
    return {rail.name: (rail.watts(), rail.counted) for rail in found}


def test_orin_nano(tmp_path: Path) -> None:
    """The module's input is the total; shunt voltages and the sum of currents are not rails."""
    orin_nano(tmp_path)
    assert rails(tmp_path) == {
        "VDD_IN": (15.0, True),
        "VDD_CPU_GPU_CV": (6.0, False),
        "VDD_SOC": (4.0, False),
    }


def test_agx_orin(tmp_path: Path) -> None:
    """Without an input rail, the rails that do not feed each other add up; NC is not a rail."""
    agx_orin(tmp_path)
    assert rails(tmp_path) == {
        "VDD_GPU_SOC": (pytest.approx(3.8), True),
        "VDD_CPU_CV": (pytest.approx(1.9), True),
        "VIN_SYS_5V0": (5.0, True),
        "VDDQ_VDD2_1V8AO": (0.5, False),
    }


def test_thor(tmp_path: Path) -> None:
    """The carrier's INA238 measures everything, in microwatts."""
    thor(tmp_path)
    found = rails(tmp_path)
    assert found.pop("VIN") == (23.0, True)
    assert {counted for _, counted in found.values()} == {False}
    assert found.keys() == {"VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"}


def test_thor_without_the_carriers_monitor(tmp_path: Path) -> None:
    """On another maker's carrier the module's rails add up."""
    ina3221(tmp_path, "2-0040", 2, {"VDD_GPU": (12000, -30), "VIN_SYS_5V0": (5000, 1000)})
    assert rails(tmp_path) == {"VDD_GPU": (pytest.approx(-0.36), True), "VIN_SYS_5V0": (5.0, True)}


@pytest.mark.parametrize("removed", ["sys/class", "sys/bus"])
def test_one_way_is_enough(tmp_path: Path, removed: str) -> None:
    """Either of the two paths to a monitor is enough."""
    orin_nano(tmp_path)
    shutil.rmtree(tmp_path / removed)
    assert len(rails(tmp_path)) == 3


def test_a_channel_that_is_off(tmp_path: Path) -> None:
    """A disabled channel, which cannot be read (here: its file is a folder), is left out."""
    folder = orin_nano(tmp_path)
    (folder / "in3_input").unlink()
    (folder / "in3_input").mkdir()
    assert rails(tmp_path).keys() == {"VDD_IN", "VDD_CPU_GPU_CV"}


def test_a_monitor_that_vanishes(tmp_path: Path) -> None:
    """After a monitor vanishes the energy is unknown, not zero, and the report says since when."""
    folder = orin_nano(tmp_path)
    with EnergyMeter(ina_rails(tmp_path)[0], interval=1e6) as meter:
        shutil.rmtree(folder)
    assert meter.energy.joules is None
    assert "VDD_IN was lost after " in meter.energy.source
    assert {part.joules for part in meter.energy.parts} == {None}


def test_none(tmp_path: Path) -> None:
    """Other sensors are not used; a monitor without read permission has its own reason."""
    write(tmp_path, {f"{HWMON}/hwmon0/name": "coretemp", f"{HWMON}/hwmon0/power1_input": 9})
    assert ina_rails(tmp_path) == ([], "no INA sensor in /sys/class/hwmon")
    write(tmp_path, {f"{HWMON}/hwmon1/name": "ina226"})
    (tmp_path / HWMON / "hwmon1/power1_input").mkdir()
    assert ina_rails(tmp_path) == ([], "no permission to read the INA sensors in /sys/class/hwmon")
