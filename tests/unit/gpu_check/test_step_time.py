"""The times of steps follow from the times at which codes arrive."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu_check import step_time
from benchmarks.gpu_check.step_time import step_times


class Clock:
    """A clock that only the codes move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def timed(monkeypatch: pytest.MonkeyPatch, every: int, seconds: float) -> tuple[list[float], float]:
    """Time codes that come ``every`` at once: steps of 2 s, a prefill of 10 s, a capture of 50 s."""
    clock = Clock()

    def codes(_janus: Any, count: int | None) -> Iterator[int]:
        clock.now += 10
        for number in range(24):
            if number % every == 0:
                clock.now += 2 * every + (50 if number == every else 0)
            yield number

    monkeypatch.setattr(step_time, "_codes", codes)
    janus: Any = SimpleNamespace(backend=SimpleNamespace(fetch_every=every))
    return step_times(janus, None, seconds, clock)


@pytest.mark.parametrize("every", [1, 4])
def test_groups(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """A step's time is a group's time over its codes; the first groups, which capture, are left out."""
    steps, first = timed(monkeypatch, every, 1.0)
    assert set(steps) == {2.0}
    assert len(steps) == 24 // every - 3
    assert first == 10 + 2 * every


def test_until_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further pictures are painted until the time is over; each one's captured first steps are left out."""
    steps, _ = timed(monkeypatch, 4, 150.0)
    assert steps == [2.0] * 6
