"""The sensors of this machine, found once for a benchmark: energy, clocks, power mode."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from janus_edge.bench.clocks import clocks_held, gauges, is_jetson
from janus_edge.bench.device_state import DeviceState, StateWatch
from janus_edge.bench.energy import Energy, EnergyMeter
from janus_edge.bench.ina import ina_rails
from janus_edge.bench.nvml import Nvml, open_nvml
from janus_edge.bench.power_mode import power_mode, query_nvpmodel
from janus_edge.bench.rapl import rapl_counters
from janus_edge.bench.sampler import EnergyCounter, Gauge, PowerSensor

#: How long the machine's power is measured before the model is opened.
IDLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Instruments:
    """What can be measured, and why the rest cannot."""

    sensors: Sequence[PowerSensor | EnergyCounter] = ()
    no_energy: tuple[str, ...] = ()
    gauges: Sequence[Gauge] = ()
    settings: DeviceState = field(default_factory=DeviceState)
    throttling: Callable[[], frozenset[str]] | None = None
    close: Callable[[], None] = lambda: None

    def meter(self) -> EnergyMeter:
        """A meter for one block."""
        return EnergyMeter(self.sensors, self.no_energy)

    def watch(self) -> StateWatch:
        """The readings of one block."""
        return StateWatch(self.gauges, self.settings, self.throttling)

    def idle(self, seconds: float = IDLE_SECONDS) -> Energy:
        """Measure the energy at rest; return at once if there is no sensor."""
        with self.meter() as meter:
            if self.sensors:
                time.sleep(seconds)
        return meter.energy


def find_instruments(
    root: Path = Path("/"),
    *,
    gpu: bool,
    query: Callable[[], str] = query_nvpmodel,
    nvml: Callable[[], tuple[Nvml | None, str]] = open_nvml,
) -> Instruments:
    """Return this machine's sensors, and those of a discrete ``gpu`` if the model runs on one.

    If the rails cover the whole board, no other meter is used. Otherwise the processor's and the GPU's
    counters are added, and ``missing`` says what they leave out.
    """
    found, missing = gauges(root)
    mode, why = power_mode(root, query) if is_jetson(root) else (None, "")
    settings = DeviceState(mode, clocks_held(root), missing=tuple([why] * bool(why) + missing))
    rails, no_rails = ina_rails(root)
    if rails:
        return Instruments(rails, (), found, settings)
    counters, no_counters = rapl_counters(root)
    no_energy = [no_counters] if no_counters else []
    if not gpu:
        if not counters:
            no_energy.append(no_rails)
        return Instruments(counters, tuple(no_energy), found, settings)
    opened, no_nvml = nvml()
    if opened is None:
        return Instruments(counters, (*no_energy, f"GPU: {no_nvml}"), found, settings)
    energy, no_gpu = opened.energy()
    reasons = (*no_energy, *([no_gpu] if no_gpu else ()))
    return Instruments(
        [*counters, *energy], reasons, [*found, *opened.gauges()], settings,
        opened.throttling, opened.close,
    )  # fmt: skip
