"""The time that all checks together may take."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Below so many seconds nothing is started any more.
_LEAST = 2.0


class Budget:
    """``total`` seconds from now on, by ``clock``."""

    def __init__(self, total: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self._clock, self._end = total, clock, clock() + total

    @property
    def spent(self) -> bool:
        """Whether nothing should be started any more."""
        return self.left < _LEAST

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(self._end - self._clock(), 0.0)
