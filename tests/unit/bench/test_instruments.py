"""Which of a machine's sensors are used, and what is reported about the missing ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.bench.device_state import DeviceState, Reading, StateWatch
from janus_edge.bench.instruments import Instruments, find_instruments
from janus_edge.bench.nvml import open_nvml
from janus_edge.bench.sampler import Gauge
from tests.unit.bench.fake_nvml import FakeNvml
from tests.unit.bench.test_rapl import counter
from tests.unit.bench.trees import orin_nano


def find(root: Path, *, gpu: bool, nvml: FakeNvml | None = None) -> Instruments:
    def opened() -> tuple[object, str]:
        if nvml is None:
            return None, "nvidia-ml-py is not installed"
        return open_nvml(lambda _: nvml, lambda: "0000:01:00.0")

    return find_instruments(root, gpu=gpu, query=lambda: "", nvml=opened)  # type: ignore[arg-type]


def names(found: Instruments) -> list[str]:
    return [sensor.name for sensor in found.sensors]


def test_jetson(tmp_path: Path) -> None:
    """A Jetson's rails cover the whole board: NVML is not started, and RAPL is not reported missing."""
    orin_nano(tmp_path, held=True)
    nvml = FakeNvml()
    found = find(tmp_path, gpu=True, nvml=nvml)
    assert names(found) == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
    assert (found.no_energy, nvml.calls) == ((), [])
    assert (found.settings.power_mode, found.settings.clocks_held) == ("MAXN_SUPER (2)", True)
    assert found.settings.missing == ("EMC clock: only root may read /sys/kernel/debug",)


def test_processor_and_gpu(tmp_path: Path) -> None:
    """Both add up if the model runs on the GPU; an idle GPU is not charged to a run on the processor."""
    counter(tmp_path, "0", "package-0", 0)
    nvml = FakeNvml(nvmlDeviceGetTotalEnergyConsumption=1, nvmlDeviceGetTemperature=50)
    found = find(tmp_path, gpu=True, nvml=nvml)
    assert names(found) == ["package-0", "NVIDIA A10, energy counter"]
    assert [gauge.name for gauge in found.gauges] == ["GPU temperature"]
    found.close()
    assert nvml.calls[-1] == "nvmlShutdown"
    assert names(find(tmp_path, gpu=False, nvml=nvml)) == ["package-0"]


def test_a_processor_that_may_not_be_read(tmp_path: Path) -> None:
    """The GPU's energy is reported, with the note that the processor's is not in it."""
    nvml = FakeNvml(nvmlDeviceGetTotalEnergyConsumption=1)
    found = find(tmp_path, gpu=True, nvml=nvml)
    assert found.no_energy == ("no RAPL counter in /sys/class/powercap",)
    energy = found.idle(0.0)
    assert (energy.joules, energy.missing) == (0.0, found.no_energy)


@pytest.mark.parametrize("gpu", [True, False])
def test_nothing(tmp_path: Path, gpu: bool) -> None:
    """Energy is unknown, with a reason for each source, and no time is spent waiting."""
    found = find(tmp_path, gpu=gpu)
    energy = found.idle(1e9)
    assert energy.joules is None
    assert "no RAPL counter" in energy.source
    assert ("nvidia-ml-py is not installed" in energy.source) is gpu
    assert ("no INA sensor" in energy.source) is not gpu


def test_readings() -> None:
    """Readings give minimum, mean and maximum. A gauge that never answered is left out, and throttling
    reasons are collected."""
    clocks, reasons = iter([300.0, 900.0]), iter([frozenset({"power cap"}), frozenset[str]()])

    def gone() -> float:
        raise OSError("gated")

    gauges = [Gauge("GPU clock", "MHz", lambda: next(clocks)), Gauge("GPU temperature", "°C", gone)]
    settings = DeviceState("25W (1)", True, missing=("EMC",))
    with StateWatch(gauges, settings, lambda: next(reasons), interval=1e6) as watch:
        pass
    assert watch.state == DeviceState(
        "25W (1)",
        True,
        (Reading("GPU clock", "MHz", 300.0, 600.0, 900.0),),
        ("power cap",),
        ("EMC",),
    )


def test_throttling_that_is_unknown() -> None:
    def unknown() -> frozenset[str]:
        raise OSError("Not Supported")

    with StateWatch([], DeviceState(), unknown, interval=1e6) as watch:
        pass
    assert watch.state == DeviceState()
