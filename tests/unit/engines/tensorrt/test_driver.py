"""Asking for a GPU: every answer of the driver's library, and none of them ends the process."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from janus_edge.engines.tensorrt.driver import why_no_gpu


@pytest.mark.parametrize(
    ("init", "count", "expected"),
    [
        (0, 1, None),
        (0, 0, "the driver sees no GPU; check `nvidia-smi`"),
        (100, 0, "error 100: the driver sees no GPU"),
        (804, 0, "error 804: the driver is too old"),
        (3, 0, "error 3: see its code"),
    ],
)
def test_answers(
    monkeypatch: pytest.MonkeyPatch, init: int, count: int, expected: str | None
) -> None:
    def device_count(pointer: Any) -> int:
        pointer._obj.value = count
        return 0

    library = SimpleNamespace(cuInit=lambda _flags: init, cuDeviceGetCount=device_count)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: library)
    answer = why_no_gpu()
    assert answer is None if expected is None else expected in str(answer)


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert why_no_gpu() == "there is no NVIDIA driver (libcuda.so.1 was not found); install it"
