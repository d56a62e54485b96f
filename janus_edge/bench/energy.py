"""Energy that the machine took while something ran, where it has a meter that may be read.

Counters (x86's RAPL, a GPU's) are read ten times a second, often enough to notice a wrap-around. Power
sensors (a Jetson's rails) are sampled at the same rate and integrated by the trapezoidal rule. Sensors
differ between machines: a report names each one, and says which add up to the total. A failed reading
is interpolated and counted. If a sensor stops answering, its energy is unknown; so is the total, if it
includes that sensor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from janus_edge.bench.sampler import UNREADABLE, EnergyCounter, PowerSensor, Sampler

if TYPE_CHECKING:
    from typing import Self

_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Part:
    """One sensor's share; ``joules`` is None if the sensor was lost, and ``note`` says why.

    A part that is not ``counted`` is contained in another. ``idle_watts`` is its power at rest.
    """

    name: str
    joules: float | None
    counted: bool
    idle_watts: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Energy:
    """``joules`` of ``seconds``, the machine's idle ones included, and what was measured.

    ``joules`` is None if nothing could be read; ``source`` then says why. ``net_joules`` is the energy
    above ``idle_watts``, the mean power before the model was opened. ``missing`` says what the total
    leaves out, and why.
    """

    joules: float | None
    seconds: float
    source: str
    idle_watts: float | None = None
    net_joules: float | None = None
    parts: tuple[Part, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def watts(self) -> float | None:
        """Mean power."""
        return None if self.joules is None or not self.seconds else self.joules / self.seconds

    def above(self, idle: Energy) -> Energy:
        """Return a copy with the power of ``idle`` and the energy above it."""
        if self.joules is None or idle.watts is None:
            return self
        before = {p.name: p.joules / idle.seconds for p in idle.parts if p.joules is not None}
        return replace(
            self,
            idle_watts=idle.watts,
            net_joules=self.joules - idle.watts * self.seconds,
            parts=tuple(replace(part, idle_watts=before.get(part.name)) for part in self.parts),
        )


@dataclass(frozen=True, slots=True)
class Joules:
    """Energy of a code or token, of a step (all rows), and of a picture; None where unknown."""

    token: float | None
    step: float | None
    image: float | None


class EnergyMeter:
    """Measures a block: ``with EnergyMeter(sensors) as meter: ...``, then ``meter.energy``.

    ``missing`` holds the reasons why other sensors are absent.
    """

    def __init__(
        self,
        sensors: Sequence[PowerSensor | EnergyCounter],
        missing: Sequence[str] = (),
        clock: Callable[[], float] = time.perf_counter,
        interval: float = _INTERVAL,
    ) -> None:
        self._clock, self._missing = clock, tuple(missing)
        self._traces = [_trace(sensor) for sensor in sensors]
        self._sampler = Sampler(self._sample, interval, active=bool(sensors))
        self._sampled = False
        self.energy = Energy(None, 0.0, "not measured yet")

    def __enter__(self) -> Self:
        self._begin = self._end = self._clock()
        self._sampler.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sampler.__exit__()
        # from the first sample to the last; there are no samples without sensors
        seconds = (self._end if self._traces else self._clock()) - self._begin
        parts = tuple(trace.part() for trace in self._traces)
        self.energy = _total(parts, [t.sensor for t in self._traces], seconds, self._missing)

    def _sample(self) -> None:
        self._end = self._clock()
        if not self._sampled:
            self._begin, self._sampled = self._end, True
        for trace in self._traces:
            trace.sample(self._end, self._end - self._begin)


class _Trace:
    """The energy of one sensor so far. Gaps between readings are interpolated; a gap at the end is not."""

    def __init__(self, sensor: PowerSensor | EnergyCounter) -> None:
        self.sensor, self._joules = sensor, 0.0
        self._lost, self._failures = "", 0

    def sample(self, now: float, since: float) -> None:
        """Read the sensor and add the energy since the last reading; ``since`` is the block's start."""
        try:
            self._joules += self._since(now)
            self._lost = ""
        except UNREADABLE as failure:
            self._failures += 1
            self._lost = self._lost or f"lost after {since:.1f} s ({_reason(failure)})"

    def _since(self, now: float) -> float:
        raise NotImplementedError

    def part(self) -> Part:
        note = f"{self._failures} readings failed" if self._failures else ""
        joules = None if self._lost else self._joules
        return Part(self.sensor.name, joules, self.sensor.counted, note=self._lost or note)


class _PowerTrace(_Trace):
    def __init__(self, sensor: PowerSensor) -> None:
        super().__init__(sensor)
        self._watts, self._last = sensor.watts, (0.0, 0.0)
        self._begun = False

    def _since(self, now: float) -> float:
        watts, (before, then) = self._watts(), self._last
        self._last = watts, now
        begun, self._begun = self._begun, True
        return (watts + before) / 2 * (now - then) if begun else 0.0


class _CounterTrace(_Trace):
    def __init__(self, sensor: EnergyCounter) -> None:
        super().__init__(sensor)
        self._read, self._wraps_after = sensor.joules, sensor.wraps_after
        self._last: float | None = None

    def _since(self, _now: float) -> float:
        value, before = self._read(), self._last
        self._last = value
        if before is None or value >= before:
            return 0.0 if before is None else value - before
        if self._wraps_after is None:
            raise ValueError("the counter went back")
        return value - before + self._wraps_after


def _trace(sensor: PowerSensor | EnergyCounter) -> _Trace:
    return _PowerTrace(sensor) if isinstance(sensor, PowerSensor) else _CounterTrace(sensor)


def _total(
    parts: tuple[Part, ...],
    sensors: Sequence[PowerSensor | EnergyCounter],
    seconds: float,
    missing: tuple[str, ...],
) -> Energy:
    """The sum of the counted parts; unknown if one of them failed."""
    counted = [part.joules for part in parts if part.counted and part.joules is not None]
    lost = [f"{p.name} was {p.note}" for p in parts if p.counted and p.joules is None]
    if lost or not counted:
        return Energy(None, seconds, "; ".join(lost or missing), parts=parts)
    names: dict[str, list[str]] = {}
    for sensor in sensors:
        if sensor.counted:
            names.setdefault(sensor.kind, []).append(sensor.name)
    source = " and ".join(f"{kind} ({', '.join(found)})" for kind, found in names.items())
    return Energy(sum(counted), seconds, source, parts=parts, missing=missing)


def _reason(failure: Exception) -> str:
    return getattr(failure, "strerror", None) or str(failure) or type(failure).__name__
