"""A discrete GPU's energy, clocks and temperature, by NVML (nvidia-ml-py, the extra `nvml`).

The energy counter (Volta and newer, in mJ since the driver was loaded) is preferred to sampled
power, which newer GPUs average over a second. On a Jetson NVML starts but supports none of these; its
rails are read from the INA sensors (`ina.py`). The GPU is CUDA's first, found by its PCI address.
Tested with a fake that has the members of nvidia-ml-py 12.535 and 13.615 (tests/unit/bench/nvml.json),
not on a GPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from janus_edge.bench.sampler import UNREADABLE, EnergyCounter, Gauge, PowerSensor
from janus_edge.cuda_driver import first_gpu_bus_id
from janus_edge.errors import BackendError

#: Bits of NVML's clock event reasons that mean lowered clocks; idle and settings are left out.
_THROTTLING = {
    "SwPowerCap": "power cap", "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "thermal slowdown (software)", "HwThermalSlowdown": "thermal slowdown",
    "HwPowerBrakeSlowdown": "power brake",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Nvml:
    """A started NVML and its handle of one GPU."""

    module: Any
    handle: Any
    name: str

    @property
    def driver(self) -> str:
        """The driver's version; '' if NVML does not report it."""
        try:
            return _word(self._call("nvmlSystemGetDriverVersion"))
        except OSError:
            return ""

    def energy(self) -> tuple[list[PowerSensor | EnergyCounter], str]:
        """The board's energy counter, or its power sensor; if there is neither, the reason."""
        why = ""
        for sensor in (
            EnergyCounter("NVML", f"{self.name}, energy counter", self._read("nvmlDeviceGetTotalEnergyConsumption", 1e-3)),
            PowerSensor("NVML", f"{self.name}, sampled power", self._read("nvmlDeviceGetPowerUsage", 1e-3)),
        ):  # fmt: skip
            try:
                sensor.joules() if isinstance(sensor, EnergyCounter) else sensor.watts()
            except UNREADABLE as failure:
                why = str(failure)
                continue
            return [sensor], ""
        return [], f"NVML does not measure the {self.name}'s power ({why})"

    def gauges(self) -> list[Gauge]:
        """The clocks, temperature and power limit that can be read now."""
        clock, module = "nvmlDeviceGetClockInfo", self.module
        found = [
            Gauge("GPU clock (SM)", "MHz", self._read(clock, 1, module.NVML_CLOCK_SM)),
            Gauge("GPU memory clock", "MHz", self._read(clock, 1, module.NVML_CLOCK_MEM)),
            Gauge("GPU temperature", "°C", self._read("nvmlDeviceGetTemperature", 1, module.NVML_TEMPERATURE_GPU)),
            Gauge("GPU power limit", "W", self._read("nvmlDeviceGetEnforcedPowerLimit", 1e-3)),
        ]  # fmt: skip
        return [gauge for gauge in found if _readable(gauge)]

    def throttling(self) -> frozenset[str]:
        """Why clocks are lowered now; raises OSError if NVML does not report it."""
        module, kind = self.module, "Event"
        if not hasattr(module, "nvmlDeviceGetCurrentClocksEventReasons"):
            kind = "Throttle"  # before 12.5xx
        bits = int(self._call(f"nvmlDeviceGetCurrentClocks{kind}Reasons", self.handle))
        names = {
            getattr(module, f"nvmlClocks{kind}Reason{n}", 0): w for n, w in _THROTTLING.items()
        }
        return frozenset(word for bit, word in names.items() if bits & bit)

    def close(self) -> None:
        """Stop NVML."""
        try:
            self._call("nvmlShutdown")
        except OSError:
            return

    def _read(self, function: str, factor: float, *arguments: Any) -> Callable[[], float]:
        return lambda: factor * float(self._call(function, self.handle, *arguments))

    def _call(self, function: str, *arguments: Any) -> Any:
        """Call NVML's function; raise OSError if it fails or is missing."""
        return _call(self.module, function, *arguments)


def open_nvml(
    load: Callable[[str], Any] = importlib.import_module,
    bus_id: Callable[[], str] = first_gpu_bus_id,
) -> tuple[Nvml | None, str]:
    """NVML for CUDA's first GPU, or the reason why it cannot be used."""
    try:
        module = load("pynvml")
    except ImportError:
        return None, "nvidia-ml-py is not installed: pip install 'janus-edge[nvml]'"
    try:
        address = bus_id().encode("ascii")
        _call(module, "nvmlInit")
    except (OSError, BackendError) as failure:
        return None, f"NVML cannot be used ({failure})"
    try:
        handle = _call(module, "nvmlDeviceGetHandleByPciBusId", address)
        return Nvml(module, handle, _word(_call(module, "nvmlDeviceGetName", handle))), ""
    except OSError as failure:
        _call(module, "nvmlShutdown")
        return None, f"NVML does not find CUDA's first GPU ({failure})"


def _call(module: Any, function: str, *arguments: Any) -> Any:
    try:
        return getattr(module, function)(*arguments)
    except AttributeError as missing:
        raise OSError(f"this nvidia-ml-py has no {function}") from missing
    except module.NVMLError as failure:
        raise OSError(str(failure)) from failure


def _word(value: Any) -> str:
    """Decode the bytes that older versions return."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _readable(gauge: Gauge) -> bool:
    try:
        gauge.read()
    except UNREADABLE:
        return False
    return True
