"""Sensor types, and a thread that samples them while a block runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

#: Errors of a sensor that is gone, not permitted, or without a value (a power-gated GPU).
UNREADABLE = (OSError, ValueError)


@dataclass(frozen=True, slots=True)
class PowerSensor:
    """Power in watts; ``counted`` sensors add up to the total, the rest are parts of a counted one.

    ``kind`` is the sensor family's name in a report. ``watts`` raises one of UNREADABLE.
    """

    kind: str
    name: str
    watts: Callable[[], float]
    counted: bool = True


@dataclass(frozen=True, slots=True)
class EnergyCounter:
    """Energy counter in joules from any start; it wraps to zero after ``wraps_after`` joules.

    It never wraps if that is None. ``joules`` raises one of UNREADABLE.
    """

    kind: str
    name: str
    joules: Callable[[], float]
    wraps_after: float | None = None
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Gauge:
    """A clock, a temperature, a power limit: ``read`` returns it in ``unit`` or raises UNREADABLE."""

    name: str
    unit: str
    read: Callable[[], float]


class Sampler:
    """Calls ``sample`` at the start of a block, every ``interval`` seconds in it, and at its end.

    The first and last calls run on the caller's thread, so a block of any length has two. No thread
    is started if ``active`` is False.
    """

    def __init__(self, sample: Callable[[], None], interval: float, *, active: bool = True) -> None:
        self._sample, self._interval, self._active = sample, interval, active
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        if self._active:
            self._sample()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            self._stop.set()
            self._thread.join()
            self._sample()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._sample()
