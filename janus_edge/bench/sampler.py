"""A thread that samples sensors while something runs, and what a sensor is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

#: What reading a sensor raises where it is gone, forbidden or without a value (a gated GPU's).
UNREADABLE = (OSError, ValueError)


@dataclass(frozen=True, slots=True)
class PowerSensor:
    """Watts now; ``counted`` sensors add up to the total, others are part of a counted one.

    ``kind`` is what a report calls its family. ``watts`` raises one of UNREADABLE.
    """

    kind: str
    name: str
    watts: Callable[[], float]
    counted: bool = True


@dataclass(frozen=True, slots=True)
class EnergyCounter:
    """Joules from any start; the counter starts at zero again after ``wraps_after`` joules.

    It never does where that is None. ``joules`` raises one of UNREADABLE.
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

    The first and the last call are the caller's own, so a block of any length has two. Starts no
    thread where ``active`` is False.
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
