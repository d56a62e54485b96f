"""Plots of two dimensions: how a duration grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from janus_edge.bench.markup import Markup, element
from janus_edge.bench.units import digits, seconds, tick

_WIDTH, _HEIGHT = 380, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 10, 34


@dataclass(frozen=True, slots=True)
class Dot:
    """A duration in seconds at ``x``; ``high`` is the end of its whisker."""

    x: float
    y: float
    high: float


def curve(
    dots: Sequence[Dot], x_label: str, what: str, *, marks: bool, proportional: bool
) -> Markup:
    """Durations over ``x_label``, from zero up.

    ``marks`` draws every value with its whisker, ``proportional`` a dashed line through zero and the
    first value: what grows as fast as its work stays below it.
    """
    right = max(d.x for d in dots)
    left = 0.0 if marks else min(d.x for d in dots)
    highest = max(d.y for d in dots)
    # a whisker may leave the plot, so that one slow sample does not flatten the rest
    top = _round_up(min(max(d.high for d in dots), 2 * highest))
    x_span = (right - left) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - left) / x_span * (_WIDTH - _LEFT - _RIGHT)
        return round(across, 1), round(_TOP + (1 - y / top) * (_HEIGHT - _TOP - _BOTTOM), 1)

    drawn = [element("title", what)]
    for part in (0.0, 0.5, 1.0):
        _, y = at(left, part * top)
        drawn.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        drawn.append(element("text", tick(part * top), x=_LEFT - 6, y=y + 4, text_anchor="end"))
    for x in _x_ticks(dots, left, right):
        across, _ = at(x, 0)
        drawn.append(element("text", digits_of(x), x=across, y=_HEIGHT - 18, text_anchor="middle"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    drawn.append(element("text", x_label, x=middle, y=_HEIGHT - 3, text_anchor="middle"))
    if proportional and dots[0].x > 0 and len(dots) > 1:
        slope = dots[0].y / dots[0].x
        end = min(right, top / slope) if slope else right
        (x1, y1), (x2, y2) = at(dots[0].x, dots[0].y), at(end, slope * end)
        drawn.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="proportional"))
    points = " ".join(f"{x},{y}" for x, y in (at(d.x, d.y) for d in dots))
    drawn.append(element("polyline", points=points, class_="curve"))
    if marks:
        for dot in dots:
            (x, y), (_, high) = at(dot.x, dot.y), at(dot.x, min(dot.high, top))
            hint = element(
                "title", f"{digits_of(dot.x)}: {seconds(dot.y)}, p90 {seconds(dot.high)}"
            )
            drawn.append(element("line", x1=x, x2=x, y1=y, y2=high, class_="whisker"))
            drawn.append(element("circle", hint, cx=x, cy=y, r=5, class_="point"))
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return element("svg", *drawn, viewBox=box, class_="plot", role="img", aria_label=what)


def digits_of(x: float) -> str:
    """A count, or a value with three digits."""
    return str(int(x)) if x == int(x) else digits(x)


def _x_ticks(dots: Sequence[Dot], left: float, right: float) -> list[float]:
    """The values themselves where there is room for them, else the ends and the middle."""
    if len(dots) > 8:
        return [left, float(int((left + right) / 2)), right]
    kept: list[float] = []
    for dot in sorted(dots, key=lambda d: -d.x):  # the largest is always labelled
        if not kept or kept[-1] - dot.x >= 0.08 * ((right - left) or 1.0):
            kept.append(dot.x)
    return kept


def _round_up(value: float) -> float:
    """The next 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    unit = 1e-9
    while unit * 10 <= value:
        unit *= 10
    return next(unit * m for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if unit * m >= value * 0.999999)
