"""What the GPU reports while something runs: power, clocks, temperature.

A thread runs `nvidia-smi` once a second. It comes with every driver, whereas nvidia-ml-py, which gives
`janus_edge.bench.instruments` more figures, may not be installed. A Jetson's `nvidia-smi` has none.
"""

from __future__ import annotations

import subprocess
import threading
from typing import Any

#: Names of the figures, by the field of `nvidia-smi --query-gpu`.
_QUERIES = {
    "power.draw": "watts", "power.limit": "watts_limit", "clocks.sm": "sm_mhz",
    "clocks.max.sm": "sm_mhz_most", "clocks.mem": "memory_mhz", "clocks.max.mem": "memory_mhz_most",
    "temperature.gpu": "celsius", "memory.used": "memory_used_mib",
}  # fmt: skip

_INTERVAL = 1.0


class Sensors:
    """Sample during a block: ``with Sensors(name) as sensors: ...``, then ``sensors.figures``."""

    def __init__(self, gpu: str) -> None:
        self._gpu, self._samples, self._stop = gpu, list[dict[str, float]](), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.figures: dict[str, Any] = {}

    def __enter__(self) -> Sensors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        names = {name for sample in self._samples for name in sample}
        self.figures = {
            name: max(sample[name] for sample in self._samples if name in sample)
            for name in _QUERIES.values()
            if name in names
        } or {"none": "nvidia-smi reports nothing for this GPU"}

    def _sample(self) -> None:
        while True:
            found = sample(self._gpu)
            if found:
                self._samples.append(found)
            if not found or self._stop.wait(_INTERVAL):
                return


def sample(gpu: str) -> dict[str, float]:
    """Return the figures of the first GPU called ``gpu``; empty if none are reported."""
    query = f"--query-gpu=name,{','.join(_QUERIES)}"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    for line in done.stdout.splitlines():
        name, *values = (word.strip() for word in line.split(","))
        if name == gpu:
            return {n: v for n, word in zip(_QUERIES.values(), values, strict=False)
                    if (v := _number(word)) is not None}  # fmt: skip
    return {}


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:  # [N/A]
        return None
