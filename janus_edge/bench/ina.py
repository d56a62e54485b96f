"""INA power monitors: a Jetson's rails in Linux' hwmon.

Layout (Linux' Documentation/hwmon/ina3221.rst and ina238.rst): an INA3221 has three channels, voltage
``in{n}_input`` in mV, current ``curr{n}_input`` in mA and the rail's name ``in{n}_label``; its in4 to
in7 are shunt voltages and its curr4 a sum, not rails. Other monitors (INA226, INA238) have ``power1_input``
in microwatts. JetPack 6 and 7 list them in /sys/class/hwmon and, for the INA3221, in
/sys/bus/i2c/drivers/ina3221/<bus>-<address>/hwmon.

Rails by board (device trees of Linux, tegrastats of JetPack 7):
Orin Nano, NX    VDD_IN (the module's input, contains the others), VDD_CPU_GPU_CV, VDD_SOC
AGX Orin         VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0; on a second monitor VDDQ_VDD2_1V8AO
AGX Thor         VDD_GPU, VDD_CPU_SOC_MSS, VIN_SYS_5V0; an INA238 measures VIN, module and carrier
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from janus_edge.bench.sampler import UNREADABLE, PowerSensor
from janus_edge.bench.sysfs import number, text

_KIND = "INA sensors"

#: Rails that contain all other rails, the outermost first.
_TOTALS = ("VIN", "VDD_IN", "POM_5V_IN")

#: Rails taken to be fed by another: both read 5 V on an AGX Orin; not confirmed by NVIDIA's guide.
_FED_BY = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}

#: Channels that are not connected.
_UNUSED = ("", "NC")


def ina_rails(root: Path) -> tuple[list[PowerSensor], str]:
    """All rails; those that add up to the total are counted. If there are none, the reason."""
    folders = _monitors(root)
    found = [rail for folder in folders for rail in _rails(folder) if _readable(rail)]
    if not found:
        if folders:
            return [], "no permission to read the INA sensors in /sys/class/hwmon"
        return [], "no INA sensor in /sys/class/hwmon"
    names = [rail.name for rail in found]
    total = next((name for name in _TOTALS if name in names), None)

    def counted(name: str) -> bool:
        return name == total if total else _FED_BY.get(name) not in names

    return [replace(rail, counted=counted(rail.name)) for rail in found], ""


def _monitors(root: Path) -> list[Path]:
    """The monitors' folders, each once even if it has two paths."""
    found: dict[Path, Path] = {}
    for pattern in ("sys/class/hwmon/hwmon*", "sys/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*"):
        for folder in sorted(root.glob(pattern)):
            if text(folder / "name").startswith("ina"):
                found.setdefault(folder.resolve(), folder)
    return [*found.values()]


def _rails(folder: Path) -> Iterator[PowerSensor]:
    monitor = text(folder / "name")
    powers = sorted(folder.glob("power[0-9]*_input"))
    for file in powers:
        label = text(Path(f"{str(file)[:-6]}_label")) or text(folder / "in1_label")
        # Thor's carrier has one INA238, at the input; tegrastats calls it VIN
        name = label or ("VIN" if monitor == "ina238" else monitor)
        yield PowerSensor(_KIND, name, _microwatts(file))
    if powers:
        return
    for channel in (1, 2, 3):
        label = text(folder / f"in{channel}_label")
        files = folder / f"in{channel}_input", folder / f"curr{channel}_input"
        if label not in _UNUSED and all(file.exists() for file in files):
            yield PowerSensor(_KIND, label, _product(*files))


def _microwatts(file: Path) -> Callable[[], float]:
    return lambda: number(file) / 1e6


def _product(millivolts: Path, milliamperes: Path) -> Callable[[], float]:
    return lambda: number(millivolts) * number(milliamperes) / 1e6


def _readable(rail: PowerSensor) -> bool:
    try:
        rail.watts()
    except UNREADABLE:
        return False
    return True
