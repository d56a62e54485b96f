"""Plots of one dimension: rows of labels and bars, whose widths follow the page.

Their coordinates are percentages, so that text and dots keep their size at any width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from janus_edge.bench.distribution import Distribution
from janus_edge.bench.labels import label, ordered
from janus_edge.bench.markup import Markup, element, joined
from janus_edge.bench.roofline import Limit
from janus_edge.bench.timeline import HOST, OUTSIDE, TOTAL
from janus_edge.bench.units import seconds, share, size, tick

_COLOURS = ("var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)")


def step_bar(step: Mapping[str, Distribution]) -> Markup:
    """One bar of a step's parts by their medians, the largest first and the host's last."""
    names = [name for name, _ in ordered(step) if name not in (TOTAL, OUTSIDE)]
    colours = {n: _COLOURS[i % len(_COLOURS)] for i, n in enumerate(names)} | {HOST: "var(--host)"}
    total = step[TOTAL].median or 1.0
    whole = sum(step[name].median for name in names) or 1.0  # medians do not add up to the total's
    segments, items, at = [], [], 0.0
    for name in names:
        median, part = step[name].median, step[name].median / total
        hint = element("title", f"{label(name)}: {seconds(median)}, {share(part)}")
        segments.append(
            element("rect", hint, x=_percent(at), y="0", width=_percent(median / whole), height="100%",
                    fill=colours[name])
        )  # fmt: skip
        items.append(
            element(
                "li", element("i", style=f"background:{colours[name]}"), label(name),
                element("span", seconds(median)), element("span", share(part), class_="pale"),
            )
        )  # fmt: skip
        at += median / whole
    what = "parts of a step: " + ", ".join(
        f"{label(n)} {share(step[n].median / total)}" for n in names
    )
    return joined(
        element("svg", *segments, class_="stack", role="img", aria_label=what),
        element("ul", *items, class_="legend"),
    )


def ranges(groups: Sequence[tuple[str, Mapping[str, Distribution]]], mode: str) -> Markup:
    """Distributions on one logarithmic axis of time, under the heading of their group.

    A thin line from the minimum to the 99th percentile, a thick one from the median to the 90th, a
    dot at the median.
    """
    every = [d for _, group in groups for d in group.values() if d.median > 0]
    if not every:
        return Markup("")
    low = math.floor(math.log10(min(max(d.minimum, 1e-9) for d in every)))
    high = max(math.ceil(math.log10(max(d.p99 for d in every))), low + 1)

    def place(value: float) -> float:
        inside = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return min(max(inside, 0.0), 1.0)

    ticks = [(place(10.0**power), power) for power in range(low, high + 1)]
    rows: list[Markup] = []
    for heading, group in groups:
        rows.append(element("div", heading, class_="sub pale small"))
        for name, found in group.items():
            rows += (
                element("div", label(name, mode)),
                _range(found, place, [at for at, _ in ticks], label(name, mode)),
                element("div", seconds(found.median), class_="value"),
            )
    rows.append(_axis([(at, tick(10.0**p)) for at, p in ticks]))
    return element("div", *rows, class_="rows")


def limits(found: Mapping[str, Limit]) -> Markup:
    """How much of the limit of memory each part reaches, and what that limit is made of."""
    most = max([1.0, *(limit.share for limit in found.values())])
    rows: list[Markup] = []
    for name, limit in found.items():
        kinds = {f"{kind} weights": n for kind, n in limit.traffic.weights.items()}
        kinds |= {"KV cache": limit.traffic.cache, "rows of tables": limit.traffic.rows}
        # shapes and the like are not worth a word
        notable = {k: n for k, n in kinds.items() if n * 100 >= limit.traffic.total}
        told = ", ".join(f"{size(n)} {kind}" for kind, n in notable.items())
        rows += (
            element("div", label(name)),
            element(
                "svg",
                element("title", f"{label(name)}: {share(limit.share)} of the limit"),
                element("rect", class_="track", x="0", y="4", width=_percent(1 / most), height="12", rx="3"),
                element("rect", x="0", y="4", width=_percent(limit.share / most), height="12", rx="3",
                        fill=_COLOURS[0]),
                role="img",
            ),
            element("div", share(limit.share), class_="value"),
            element("div", f"{told}: {seconds(limit.seconds)} at the limit", class_="note pale small"),
        )  # fmt: skip
    return element("div", *rows, class_="rows")


def _range(
    found: Distribution, place: Callable[[float], float], grid: Sequence[float], name: str
) -> Markup:
    told = (
        f"{name}: minimum {seconds(found.minimum)}, median {seconds(found.median)}, "
        f"p90 {seconds(found.p90)}, p99 {seconds(found.p99)}, {found.count} samples"
    )

    def line(begin: float, end: float, kind: str) -> Markup:
        return element("line", x1=_percent(begin), x2=_percent(end), y1="10", y2="10", class_=kind)

    return element(
        "svg",
        element("title", told),
        *(element("line", x1=_percent(at), x2=_percent(at), y1="-3", y2="23", class_="grid") for at in grid),
        line(place(found.minimum), place(found.p99), "range"),
        line(place(found.median), place(found.p90), "middle"),
        element("circle", cx=_percent(place(found.median)), cy="10", r="5", class_="dot"),
        role="img",
    )  # fmt: skip


def _axis(ticks: Sequence[tuple[float, str]]) -> Markup:
    """Labels below the grid; the first and the last stay within it."""
    anchors = {0: "start", len(ticks) - 1: "end"}
    # at most four, so that they do not touch on a phone
    every = -(-len(ticks) // 4)
    shown = [
        element("text", text, x=_percent(at), y="11", text_anchor=anchors.get(i, "middle"))
        for i, (at, text) in enumerate(ticks)
        if i % every == 0
    ]  # fmt: skip
    return element("svg", *shown, class_="axis")


def _percent(value: float) -> str:
    return f"{100 * value:.3f}%"
