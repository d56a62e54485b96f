"""Energy that the machine took while something ran, where it has a meter that may be read.

On x86 Linux the processor counts microjoules (RAPL, /sys/class/powercap). A Jetson's INA sensors
measure power (hwmon: ``power*_input`` in microwatts, or a voltage in mV and a current in mA), which
is read ten times a second and summed over time. What is measured differs (the processor's package,
the module's input), so a report names the source.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Energy:
    """``joules`` of ``seconds``, the machine's idle ones included, and what was measured.

    ``joules`` is None where nothing could be read; ``source`` is the reason then.
    """

    joules: float | None
    seconds: float
    source: str


class EnergyMeter:
    """Measures a block: ``with EnergyMeter() as meter: ...``, then ``meter.energy``."""

    def __init__(
        self, root: Path = Path("/"), clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._counters = _counters(root)
        self._rails = [] if self._counters else _rails(root)
        self._missing = "" if self._counters or self._rails else _why_not(root)
        self.energy = Energy(None, 0.0, self._missing)

    def __enter__(self) -> EnergyMeter:
        self._begin = self._clock()
        self._before = [counter.read() for counter in self._counters]
        self._joules, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        if self._rails:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rails:
            self._stop.set()
            self._thread.join()
        seconds = self._clock() - self._begin
        if self._counters:
            used = sum(
                counter.since(before)
                for counter, before in zip(self._counters, self._before, strict=True)
            )
            names = ", ".join(counter.name for counter in self._counters)
            self.energy = Energy(used / 1e6, seconds, f"RAPL ({names})")
        elif self._rails:
            names = ", ".join(rail.name for rail in self._rails)
            self.energy = Energy(self._joules, seconds, f"INA sensors ({names})")
        else:
            self.energy = Energy(None, seconds, self._missing)

    def _sample(self) -> None:
        last = self._clock()
        while True:
            ended = self._stop.wait(_INTERVAL)
            watts, now = sum(rail.watts() for rail in self._rails), self._clock()
            self._joules += watts * (now - last)
            last = now
            if ended:
                return


@dataclass(frozen=True, slots=True)
class _Counter:
    name: str
    folder: Path

    def read(self) -> int:
        return int((self.folder / "energy_uj").read_text())

    def since(self, before: int) -> int:
        """Microjoules since; the counter begins anew behind its largest value."""
        used = self.read() - before
        return used if used >= 0 else used + int((self.folder / "max_energy_range_uj").read_text())


@dataclass(frozen=True, slots=True)
class _Rail:
    name: str
    files: tuple[Path, ...]  # power in uW, or voltage in mV and current in mA

    def watts(self) -> float:
        product = 1.0
        for file in self.files:
            product *= float(file.read_text())
        return product / 1e6


def _counters(root: Path) -> list[_Counter]:
    """The packages, and what else stands at the top; their parts are contained in them."""
    found = []
    for folder in sorted((root / "sys/class/powercap").glob("*-rapl:*")):
        if folder.name.count(":") == 1:
            counter = _Counter(_text(folder / "name") or folder.name, folder)
            try:
                counter.read()
            except (OSError, ValueError):
                continue
            found.append(counter)
    # 'psys' is the whole board, of which the packages are a part
    board = [counter for counter in found if counter.name == "psys"]
    return board or found


def _rails(root: Path) -> list[_Rail]:
    found = []
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        sensor = _text(folder / "name")
        if not sensor.startswith("ina"):
            continue
        powers = sorted(folder.glob("power*_input"))
        rails = [_Rail(_text(Path(f"{str(p)[:-6]}_label")) or sensor, (p,)) for p in powers]
        if not rails:
            for current in sorted(folder.glob("curr[0-9]*_input")):
                number = current.name[4:-6]
                voltage = folder / f"in{number}_input"
                name = _text(folder / f"in{number}_label") or f"{sensor} {number}"
                if voltage.is_file():
                    rails.append(_Rail(name, (voltage, current)))
        found += [rail for rail in rails if _readable(rail)]
    # the module's input contains the other rails
    whole = [rail for rail in found if rail.name == "VDD_IN"]
    return whole or found


def _readable(rail: _Rail) -> bool:
    try:
        rail.watts()
    except (OSError, ValueError):
        return False
    return True


def _why_not(root: Path) -> str:
    counters = [*(root / "sys/class/powercap").glob("*-rapl:*/energy_uj")]
    if counters:
        return "the RAPL counters in /sys/class/powercap may be read by root only"
    return "no RAPL counter in /sys/class/powercap and no INA sensor in /sys/class/hwmon"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""
