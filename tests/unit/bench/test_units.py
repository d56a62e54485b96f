"""Three digits in the unit that fits."""

from __future__ import annotations

import pytest

from janus_edge.bench.units import seconds, share, size, tick


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ns"),
        (1.21e-9, "1.21 ns"),
        (0.000142, "142 µs"),
        (9.994e-6, "9.99 µs"),
        (9.996e-6, "10.0 µs"),
        (0.0009994, "999 µs"),
        (0.0009996, "1.00 ms"),
        (0.0342, "34.2 ms"),
        (1.2351, "1.24 s"),
        (99.96, "100 s"),
        (4321, "4321 s"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (5 << 20, "5.00 MiB"),
        (3 << 40, "3072 GiB"),
    ],
)
def test_size(value: int, text: str) -> None:
    assert size(value) == text


def test_share() -> None:
    assert [share(v) for v in (0, 0.00001, 0.0002, 0.455, 1.234)] == [
        "0 %",
        "0 %",
        "0.02 %",
        "45.5 %",
        "123 %",
    ]


def test_tick() -> None:
    assert [tick(v) for v in (0, 0.01, 0.0075, 0.1, 2.0)] == [
        "0",
        "10 ms",
        "7.5 ms",
        "100 ms",
        "2 s",
    ]
