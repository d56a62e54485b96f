"""Quality against size, from what `benchmarks/quantization.py` wrote.

    python benchmarks/plot_quantization.py benchmarks/results/quantization-miniature.json \
        docs/quantization.png

Above: the mean KL divergence of the guided image logits from the float bundle's over the size of the
bundle. Below, where there are scores: how many more or fewer pictures show their prompt, and answers
are right, than float's with the same prompts and noise, in points with the 95 % interval; a row per
variant, the smallest bundle first. A variant that failed is in neither. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as Line
from matplotlib.transforms import Bbox

from janus_edge.atomic_file import written_aside

Row = dict[str, Any]
#: What labels beside marks leave to the colour or shorten; the rows below have the whole names.
SHORT = {
    "modelopt-": "", "ort-": "", "int4-weight block ": "int4/", " and ": "+", "mean_squared_error": "MSE",
}  # fmt: skip
#: Who made a variant, by the start of its name: colour, mark, and name in the legend.
MAKERS = {
    "ort-": ("#d98200", "s", "onnxruntime"),
    "modelopt-": ("#3f8f3f", "^", "nvidia-modelopt"),
    "": ("#1f5fa8", "o", "janus-edge"),
}
#: Points between a mark and the nearest place of its label, and between two places.
_NEAR, _STEP = 5.0, 9.5
#: Labels are measured as they are drawn.
_DPI = 130
_LABEL: dict[str, Any] = {"fontsize": 7.5, "va": "center"}


def plot(variants: dict[str, Row], target: Path) -> None:
    measured = {name: row for name, row in variants.items() if "parity" in row}
    scored = {name: row for name, row in variants.items() if "minus_float" in row}
    if not measured:
        raise SystemExit("no variant was compared with its float parent")
    mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "quantization"})
    heights = [10.5, 0.3 * len(scored) + 0.8][: 2 if scored else 1]
    figure, all_axes = plt.subplots(
        len(heights), figsize=(11, sum(heights)), dpi=_DPI, height_ratios=heights, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    makers = {_maker(name) for name in measured}
    marks = [
        Line2D([], [], color=colour, marker=mark, linestyle="", label=label)
        for colour, mark, label in MAKERS.values()
        if (colour, mark, label) in makers
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=3, frameon=False)
    if scored:
        _scores(all_axes[1, 0], scored)
    _divergence(figure, all_axes[0, 0], measured)
    with written_aside(target) as aside:
        figure.savefig(aside, format=target.suffix[1:], dpi=_DPI, metadata={"Software": None})


def _divergence(figure: Figure, axes: Axes, measured: dict[str, Row]) -> None:
    points = [(name, _mib(row["bytes"]), _kl(row)) for name, row in measured.items()]
    axes.set_yscale("log")
    for name, size, kl in points:
        colour, mark, _ = _maker(name)
        axes.plot(size, kl, mark, color=colour, markersize=5, alpha=0.9)
    sizes = [size for _, size, _ in points]
    room = 0.35 * max(max(sizes) - min(sizes), 1.0)  # for labels beside the outermost marks
    axes.set_xlim(min(sizes) - room, max(sizes) + room)
    axes.margins(y=0.12)
    parent = _mib(next(iter(measured.values()))["parent_bytes"])
    axes.set_xlabel(f"size of the bundle, MiB (float: {parent:.1f})")
    axes.set_ylabel("mean KL of guided image logits, nats")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    label_apart(figure, axes, points)


def label_apart(figure: Figure, axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """Write each label at the nearest free place beside its mark, with a line if it is not near.

    Raises RuntimeError where the panel has no place left: make it larger.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the marks must stay where they are now
    dots = figure.dpi / 72
    places = {name: axes.transData.transform((x, y)) for name, x, y in points}
    marks = [
        Bbox.from_bounds(x - 3 * dots, y - 3 * dots, 6 * dots, 6 * dots) for x, y in places.values()
    ]
    labels: list[Bbox] = []
    lines: list[Line] = []
    for name, x, y in sorted(points, key=lambda point: -point[2]):
        colour = _maker(name)[0]
        probe = axes.text(x, y, _short(name), **_LABEL)
        width, height = probe.get_window_extent().size
        probe.remove()
        at_x, at_y = places[name]
        for across, up in _offsets():
            end = (at_x + across * dots, at_y + up * dots)
            left = end[0] if across > 0 else end[0] - width
            box = Bbox.from_bounds(left, end[1] - height / 2, width, height)
            line = Line([(at_x, at_y), end])
            near = abs(across) == _NEAR and abs(up) < _STEP
            if (
                axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1)
                and axes.bbox.containsy(box.y0) and axes.bbox.containsy(box.y1)
                and not any(box.overlaps(other) for other in (*marks, *labels))
                and not any(other.intersects_bbox(box) for other in lines)
                and (near or not any(line.intersects_bbox(other) for other in labels))
            ):  # fmt: skip
                break
        else:
            raise RuntimeError(f"no place for the label of '{name}'; make the panel larger")
        side = "left" if across > 0 else "right"
        axes.annotate(
            _short(name), (x, y), (across, up), textcoords="offset points", color=colour, ha=side,
            **_LABEL,
        )  # fmt: skip
        labels.append(box)
        if not near:
            lines.append(line)
            ends = axes.transData.inverted().transform([(at_x, at_y), end])
            axes.plot(ends[:, 0], ends[:, 1], color=colour, linewidth=0.5, alpha=0.7)


def _offsets() -> Iterator[tuple[float, float]]:
    """Places in points from a mark, nearest first: right or left of it, ever higher and lower."""
    found = [
        (side * (_NEAR + 8 * out), turn * _STEP * step / 2)
        for step in range(60)
        for out in range(30)
        for side in (1, -1)
        for turn in ((1, -1) if step else (1,))
    ]
    yield from sorted(found, key=lambda at: (abs(at[0]) ** 2 + (1.3 * at[1]) ** 2, -at[0]))


def _scores(axes: Axes, scored: dict[str, Row]) -> None:
    """The differences from float, each with its 95 % interval: painting above, answers below it."""
    names = sorted(scored, key=lambda name: scored[name]["bytes"])
    for place, name in enumerate(names):
        colour = _maker(name)[0]
        for part, mark, up in (("painting", "o", -0.16), ("understanding", "D", 0.16)):
            found = scored[name]["minus_float"][part]["overall"]
            ends = [found["low"], found["high"]]
            axes.plot(ends, [place + up] * 2, color=colour, linewidth=1)
            face = colour if part == "painting" else "white"
            axes.plot(
                found["points"], place + up, mark, color=colour, markersize=4, markerfacecolor=face
            )
    axes.axvline(0, color="black", linewidth=0.8)
    sizes = [f"{name}  {_mib(scored[name]['bytes']):5.1f}" for name in names]
    axes.set_yticks(range(len(names)), sizes, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(
        "points more or fewer right than float: pictures (filled), answers (open); the numbers are MiB"
    )
    axes.grid(alpha=0.25)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _maker(name: str) -> tuple[str, str, str]:
    return next(maker for start, maker in MAKERS.items() if name.startswith(start))


def _short(name: str) -> str:
    for words, fewer in SHORT.items():
        name = name.replace(words, fewer)
    return name


def _kl(row: Row) -> float:
    return float(row["parity"]["forced"]["guided"]["kl_mean"])


def _mib(size: int) -> float:
    return size / (1 << 20)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    plot(json.loads(given.report.read_text("utf-8"))["variants"], given.target)
