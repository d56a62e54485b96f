"""Figures as people read them."""

from __future__ import annotations

_BYTES = ("B", "KiB", "MiB", "GiB")


def seconds(value: float) -> str:
    """Three digits in the unit that fits: ``142 µs``, ``3.42 ms``, ``1.24 s``."""
    for factor, unit in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms")):
        if abs(value) * factor < 999.5:
            return f"{digits(value * factor)} {unit}"
    return f"{digits(value)} s"


def tick(value: float) -> str:
    """Seconds without the zeros behind the point: ``10 ms``, ``7.5 ms``, ``0``."""
    if value == 0:
        return "0"
    number, unit = seconds(value).split()
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def size(nbytes: float) -> str:
    """``4.10 MiB``."""
    value = float(nbytes)
    for unit in _BYTES[:-1]:
        if abs(value) < 1023.5:
            return f"{value:.0f} B" if unit == "B" else f"{digits(value)} {unit}"
        value /= 1024
    return f"{digits(value)} {_BYTES[-1]}"


def share(value: float) -> str:
    """``41.5 %``, ``0.02 %``."""
    return f"{digits(100 * value)} %" if value >= 0.0001 else "0 %"


def digits(value: float) -> str:
    """Three digits, and no fewer than stand before the point."""
    if value == 0:
        return "0"
    for places, limit in ((2, 9.995), (1, 99.95)):
        if abs(value) < limit:
            return f"{value:.{places}f}"
    return f"{value:.0f}"
