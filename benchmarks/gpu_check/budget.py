"""The time limit for all checks together."""

from __future__ import annotations

import time
from collections.abc import Callable

#: With fewer seconds left, nothing more is started.
_LEAST = 2.0


class Budget:
    """``total`` seconds from now, by ``clock``."""

    def __init__(self, total: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self._clock, self._end = total, clock, clock() + total

    @property
    def spent(self) -> bool:
        """Whether too little time is left to start anything."""
        return self.left < _LEAST

    @property
    def left(self) -> float:
        """The seconds left."""
        return max(self._end - self._clock(), 0.0)
