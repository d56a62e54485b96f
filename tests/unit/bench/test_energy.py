"""Energy from sensors: integrals, counters that wrap, sensors that fail, power at rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from janus_edge.bench.energy import Energy, EnergyMeter
from janus_edge.bench.sampler import EnergyCounter, PowerSensor

#: So long that nothing is sampled between the two ends of a block.
NEVER = 1e6


def clock(*times: float) -> Callable[[], float]:
    """Return each time in turn, and then the last one again."""
    rest = iter(times)
    last = times[-1]
    return lambda: next(rest, last)


def values(*given: float | Exception) -> Callable[[], float]:
    """Return or raise each value in turn."""
    rest: Iterator[float | Exception] = iter(given)

    def read() -> float:
        value = next(rest)
        if isinstance(value, Exception):
            raise value
        return value

    return read


def measure(
    *sensors: PowerSensor | EnergyCounter, seconds: float = 2.0, samples: int = 2
) -> Energy:
    """Measure a block of evenly spaced samples that lasts ``seconds``."""
    meter = EnergyMeter(sensors, ("the reason",), lambda: now, NEVER)
    now = 0.0
    with meter:
        for number in range(1, samples - 1):
            now = seconds * number / (samples - 1)
            meter._sample()
        now = seconds
    return meter.energy


def test_trapezoids() -> None:
    """Power that rises from 1 W to 3 W and then falls to 2 W counts by its mean in each second."""
    found = measure(PowerSensor("INA sensors", "VDD_IN", values(1.0, 3.0, 2.0)), samples=3)
    assert found.joules == pytest.approx((1 + 3) / 2 + (3 + 2) / 2)
    assert (found.seconds, found.source) == (2.0, "INA sensors (VDD_IN)")


def test_a_part_is_not_counted_twice() -> None:
    """A rail inside another one is reported and is not in the total."""
    found = measure(
        PowerSensor("INA sensors", "VDD_IN", values(10.0, 10.0)),
        PowerSensor("INA sensors", "VDD_SOC", values(2.0, 2.0), counted=False),
    )
    assert found.joules == pytest.approx(20.0)
    assert [(p.name, p.joules, p.counted) for p in found.parts] == [
        ("VDD_IN", 20.0, True),
        ("VDD_SOC", 4.0, False),
    ]
    assert found.source == "INA sensors (VDD_IN)"


def test_counters_wrap() -> None:
    """A counter restarts at zero after its largest value, even more than once in a block."""
    counter = EnergyCounter("RAPL", "package-0", values(0.9, 0.4, 0.9, 0.2), wraps_after=1.0)
    assert measure(counter, samples=4).joules == pytest.approx(0.5 + 0.5 + 0.3)


def test_a_counter_that_was_reset() -> None:
    """After a driver was reloaded the energy is unknown, not negative."""
    found = measure(EnergyCounter("NVML", "GPU", values(9.0, 1.0)))
    assert found.joules is None
    assert "GPU was lost after 2.0 s (the counter went back)" in found.source


def test_sources_add_up() -> None:
    """The processor's and the GPU's energy add up, and the source names both."""
    found = measure(
        EnergyCounter("RAPL", "package-0", values(1.0, 5.0), 100.0),
        PowerSensor("NVML", "A10", values(50.0, 50.0)),
    )
    assert found.joules == pytest.approx(104.0)
    assert found.source == "RAPL (package-0) and NVML (A10)"
    assert found.watts == pytest.approx(52.0)


def test_a_sensor_that_vanishes() -> None:
    """After a sensor vanishes the total is unknown and says since when; other parts keep their energy."""
    gone = OSError(19, "No such device")
    found = measure(
        PowerSensor("INA sensors", "VDD_GPU", values(5.0, gone, gone)),
        PowerSensor("INA sensors", "VDD_CPU", values(1.0, 1.0, 1.0)),
        samples=3,
    )
    assert (found.joules, found.net_joules, found.watts) == (None, None, None)
    assert found.source == "VDD_GPU was lost after 1.0 s (No such device)"
    assert [part.joules for part in found.parts] == [None, pytest.approx(2.0)]


def test_a_reading_that_fails_once() -> None:
    """A single failed reading is bridged by its neighbours and reported."""
    busy = OSError(11, "Resource temporarily unavailable")
    found = measure(PowerSensor("INA sensors", "VIN", values(2.0, busy, 4.0)), samples=3)
    assert found.joules == pytest.approx(2 * (2 + 4) / 2)
    assert found.parts[0].note == "1 readings failed"


def test_none() -> None:
    """Without sensors the energy is unknown, with the reason, and the seconds are still measured."""
    found = measure()
    assert found == Energy(None, 2.0, "the reason")


def test_what_is_left_out_is_said() -> None:
    """A total without the processor gives the reason."""
    assert measure(PowerSensor("NVML", "A10", values(1.0, 1.0))).missing == ("the reason",)


def test_above_idle() -> None:
    """The net energy is the total less the power at rest over the same seconds, for each part as well."""
    rails = [
        PowerSensor("INA", n, lambda w=w: w, c)
        for n, w, c in (("IN", 9.0, True), ("SOC", 2.0, False))
    ]  # type: ignore[misc]
    idle = measure(
        *(PowerSensor("INA", r.name, lambda r=r: r.watts() / 3, r.counted) for r in rails),
        seconds=4.0,
    )  # type: ignore[misc]
    found = measure(*rails).above(idle)
    assert (found.joules, found.idle_watts) == (pytest.approx(18.0), pytest.approx(3.0))
    assert found.net_joules == pytest.approx(18.0 - 3.0 * 2.0)
    assert [part.idle_watts for part in found.parts] == [pytest.approx(3.0), pytest.approx(2 / 3)]
    unknown = Energy(None, 1.0, "why")
    assert measure(*rails).above(unknown).net_joules is None
    assert unknown.above(idle) == unknown


def test_the_thread_samples() -> None:
    """In a long block, sensors are also read between its ends."""
    seen = 0

    def read() -> float:
        nonlocal seen
        seen += 1
        return 1.0

    with EnergyMeter([PowerSensor("INA", "IN", read)], interval=1e-4) as meter:
        while seen < 5:
            pass
    assert meter.energy.joules is not None
