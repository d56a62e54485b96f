"""The device's settings and state: power mode, clocks, temperatures, throttling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from janus_edge.bench.sampler import UNREADABLE, Gauge, Sampler

if TYPE_CHECKING:
    from typing import Self

_INTERVAL = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge's values over a block."""

    name: str
    unit: str
    least: float
    mean: float
    most: float


@dataclass(frozen=True, slots=True)
class DeviceState:
    """Settings before a block and readings during it; None or empty if unknown.

    ``clocks_held``: minimum and maximum clocks are equal, as after `jetson_clocks`. ``throttled`` holds
    the driver's reasons for lower clocks, from all samples. ``missing`` says why readings are
    missing.
    """

    power_mode: str | None = None
    clocks_held: bool | None = None
    readings: tuple[Reading, ...] = ()
    throttled: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class StateWatch:
    """Samples gauges in a block: ``with StateWatch(...) as watch: ...``, then ``watch.state``.

    ``settings`` holds what does not change; ``throttling`` raises OSError if it is unknown.
    """

    def __init__(
        self,
        gauges: Sequence[Gauge],
        settings: DeviceState,
        throttling: Callable[[], frozenset[str]] | None = None,
        interval: float = _INTERVAL,
    ) -> None:
        self._gauges, self._settings, self._throttling = gauges, settings, throttling
        self._values: dict[str, list[float]] = {gauge.name: [] for gauge in gauges}
        self._throttled: set[str] = set()
        active = bool(gauges) or throttling is not None
        self._sampler = Sampler(self._sample, interval, active=active)
        self.state = settings

    def __enter__(self) -> Self:
        self._sampler.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sampler.__exit__()
        units = {gauge.name: gauge.unit for gauge in self._gauges}
        self.state = DeviceState(
            self._settings.power_mode,
            self._settings.clocks_held,
            tuple(
                Reading(name, units[name], min(values), sum(values) / len(values), max(values))
                for name, values in self._values.items()
                if values
            ),
            tuple(sorted(self._throttled)),
            self._settings.missing,
        )

    def _sample(self) -> None:
        for gauge in self._gauges:
            try:
                self._values[gauge.name].append(gauge.read())
            except UNREADABLE:
                continue  # a gated GPU has no temperature
        if self._throttling is not None:
            try:
                self._throttled |= self._throttling()
            except UNREADABLE:
                self._throttling = None
