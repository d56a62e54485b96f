"""NVML, through a fake with the members of the real module, in its oldest and newest recorded version."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bench import nvml
from janus_edge.bench.nvml import Nvml, open_nvml
from janus_edge.bench.sampler import EnergyCounter, PowerSensor
from janus_edge.errors import BackendError
from tests.unit.bench.fake_nvml import TABLE, VERSIONS, FakeNvml


def opened(version: str = VERSIONS[-1], **answers: Any) -> Nvml:
    found, why = open_nvml(lambda _name: FakeNvml(version, **answers), lambda: "0000:01:00.0")
    assert found is not None, why
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_exists(version: str) -> None:
    """Every NVML name that the module uses exists in each recorded version."""
    tree = ast.parse(Path(nvml.__file__).read_text("utf-8"))
    named = {
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }
    named |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    named = {n for n in named if n.startswith(("nvml", "NVML_")) and n.isidentifier()}
    assert len(named - {"nvml"}) > 10
    reasons = {f"nvmlClocks{k}Reason{n}" for k in ("Event", "Throttle") for n in nvml._THROTTLING}
    wanted = (named - {"nvml", "nvmlClocks", "nvmlDeviceGetCurrentClocks"}) | reasons
    assert wanted <= TABLE[version].keys()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_discrete_gpu(version: str) -> None:
    """Millijoules and milliwatts become joules and watts; the GPU is the one at CUDA's address."""
    gpu = opened(
        version,
        nvmlDeviceGetName=b"NVIDIA A10" if version.startswith("12") else "NVIDIA A10",
        nvmlDeviceGetTotalEnergyConsumption=5_000,
        nvmlDeviceGetClockInfo=lambda _handle, clock: {1: 1695, 2: 6251}[clock],
        nvmlDeviceGetTemperature=61,
        nvmlDeviceGetEnforcedPowerLimit=150_000,
    )
    assert (gpu.name, gpu.driver, gpu.handle) == (
        "NVIDIA A10",
        "580.65.06",
        ("handle", b"0000:01:00.0"),
    )
    (counter,), why = gpu.energy()
    assert isinstance(counter, EnergyCounter)
    assert (counter.joules(), counter.name, why) == (5.0, "NVIDIA A10, energy counter", "")
    assert {(g.name, g.read(), g.unit) for g in gpu.gauges()} == {
        ("GPU clock (SM)", 1695, "MHz"), ("GPU memory clock", 6251, "MHz"),
        ("GPU temperature", 61, "°C"), ("GPU power limit", 150, "W"),
    }  # fmt: skip


def test_without_a_counter() -> None:
    """On GPUs before Volta the power is sampled."""
    (sensor,), _ = opened(nvmlDeviceGetPowerUsage=75_500).energy()
    assert isinstance(sensor, PowerSensor)
    assert (sensor.watts(), sensor.name) == (75.5, "NVIDIA A10, sampled power")


def test_a_jetson() -> None:
    """On a Jetson NVML starts and supports nothing: no sensor, no gauge, and the reason."""
    gpu = opened(nvmlDeviceGetName="Orin (nvgpu)")
    assert gpu.energy() == ([], "NVML does not measure the Orin (nvgpu)'s power (Not Supported)")
    assert gpu.gauges() == []
    with pytest.raises(OSError, match="Not Supported"):
        gpu.throttling()


@pytest.mark.parametrize("version", VERSIONS)
def test_throttling(version: str) -> None:
    """Reasons for lower clocks are reported; an idle GPU and requested clocks are not among them."""
    reasons = "nvmlDeviceGetCurrentClocksEventReasons"
    assert opened(version, **{reasons: 4 | 1 | 2}).throttling() == {"power cap"}
    assert opened(version, **{reasons: 1}).throttling() == frozenset()


def test_throttling_of_older_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reasons are also read from versions before NVML renamed the functions."""
    older = {n: v for n, v in TABLE[VERSIONS[0]].items() if "ClocksEvent" not in n}
    monkeypatch.setitem(TABLE, VERSIONS[0], older)
    gpu = opened(VERSIONS[0], nvmlDeviceGetCurrentClocksThrottleReasons=64)
    assert gpu.throttling() == {"thermal slowdown"}


def missing(_name: str) -> Any:
    raise ModuleNotFoundError("pynvml")


def no_gpu() -> str:
    raise BackendError("no GPU can be used: no driver")


def fails(*_: Any) -> Any:
    raise FakeNvml().NVMLError("Driver Not Loaded")


@pytest.mark.parametrize(
    ("load", "bus_id", "message"),
    [
        (missing, no_gpu, "nvidia-ml-py is not installed: pip install 'janus-edge.nvml.'"),
        (lambda _: FakeNvml(), no_gpu, "cannot be used .no GPU can be used: no driver"),
        (lambda _: FakeNvml(nvmlInit=fails), lambda: "0", "cannot be used .Driver Not Loaded"),
        (
            lambda _: FakeNvml(nvmlDeviceGetHandleByPciBusId=fails),
            lambda: "0",
            "does not find CUDA's first GPU .Driver Not Loaded",
        ),
    ],
)
def test_none(load: Any, bus_id: Any, message: str) -> None:
    """Every failure gives its reason, and nothing raises."""
    found, why = open_nvml(load, bus_id)
    assert found is None
    assert re.search(message, why), why


def test_closing() -> None:
    """Closing stops NVML, which may be stopped already."""
    gpu = opened()
    gpu.close()
    assert gpu.module.calls[-1] == "nvmlShutdown"
    opened(nvmlShutdown=fails).close()
