"""What is said of measured seconds: spread, and ratios round by round."""

from __future__ import annotations

from statistics import median


def quantile(values: list[float], share: float) -> float:
    """Between the two nearest values, as numpy's default."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(seconds: list[float]) -> dict[str, float]:
    return {
        "median": median(seconds),
        "p10": quantile(seconds, 0.1),
        "p90": quantile(seconds, 0.9),
        "min": min(seconds),
        "count": len(seconds),
    }


def ratios(peer: list[list[float]], reference: list[list[float]]) -> dict[str, object]:
    """The peer's time over the reference's, both the median of the same round."""
    each = [median(a) / median(b) for a, b in zip(peer, reference, strict=True)]
    return {"median": median(each), "min": min(each), "max": max(each), "rounds": each}
