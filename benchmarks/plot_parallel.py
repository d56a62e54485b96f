"""Passes, seconds and costs over the codes of a pass, from what `benchmarks/parallel_decoding.py` wrote.

    python benchmarks/plot_parallel.py docs/parallel.png --passes benchmarks/results/parallel-passes.json \
        --time benchmarks/results/parallel-time.json --cost benchmarks/results/parallel-cost.json

Four panels, of which those without a file are left out: how many times fewer passes a picture takes,
by guidance and temperature, with two standard errors; how many times faster a picture is painted, by
recipe; the milliseconds of a pass, by recipe, at the dimensions of the bundles that were measured;
and, from the first and the third, the speed-up to expect there if guesses came true as often. Needs
matplotlib.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator
from parallel_costs import PASS

from janus_edge.atomic_file import written_aside

Row = dict[str, Any]
#: What a line is told by besides its label.
COLOURS = ("#1f5fa8", "#d98200", "#3f8f3f", "#a83279", "#5b5b5b", "#0f9aa8", "#8a6d1f", "#b03a2e")
MARKS = "osD^vPX*"
_DPI = 130
#: The setting of the recipes' panels, and of the speed-up to expect.
GUIDANCE, TEMPERATURE = 5.0, 1.0


def bundles(path: Path) -> dict[str, Any]:
    """What was measured, by bundle."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))["bundles"]
    return found


def painted(path: Path) -> list[Row]:
    """Rows of the first bundle, with the runtime's own guess and source."""
    rows: list[Row] = next(iter(bundles(path).values()))["settings"]
    return [r for r in rows if (r["guess"], r.get("source", "runtime")) == ("continued", "runtime")]


def fewer(path: Path) -> dict[int, float]:
    """Times fewer passes by width, at the one setting."""
    return {
        1: 1.0,
        **{
            row["width"]: row["fewer"]
            for row in painted(path)
            if (row["guidance"], row["temperature"]) == (GUIDANCE, TEMPERATURE)
        },
    }


def passes_panel(axes: Axes, path: Path) -> None:
    rows = painted(path)
    settings = sorted({(r["guidance"], r["temperature"]) for r in rows})
    for number, setting in enumerate(settings):
        beside = 2 ** (
            0.06 * (number - (len(settings) - 1) / 2)
        )  # so that errors can be told apart
        line = sorted(
            (r for r in rows if (r["guidance"], r["temperature"]) == setting), key=lambda r: r["width"]
        )  # fmt: skip
        values = [row["fewer"] for row in line]
        errors = [
            2 * row["fewer"] * (row["standard_error_of_mean"] or 0) / row["mean_passes"]
            for row in line
        ]
        axes.errorbar(
            [row["width"] * beside for row in line], values, errors, capsize=2, **style(number),
            label=f"guidance {setting[0]:g}, temperature {setting[1]:g}",
        )  # fmt: skip
    tell(
        axes,
        "times fewer passes, miniature",
        lambda value: f"{value:g}x",
        [r["width"] for r in rows],
    )
    leave_room(axes)


def time_panel(axes: Axes, path: Path) -> None:
    for number, (name, found) in enumerate(bundles(path).items()):
        chosen = [
            row for row in found["settings"]
            if (row["guidance"], row["temperature"]) == (GUIDANCE, TEMPERATURE)
        ]  # fmt: skip
        if not chosen:
            continue
        ways = chosen[0]["ways"]
        widths = sorted(int(way) for way in ways if way.isdigit())
        axes.plot(
            [1, *widths], [1.0, *(ways[str(w)]["speedup"] for w in widths)], **style(number),
            label=f"{name} ({ways['off']['mean_seconds']:.2f} s, auto {ways['auto']['speedup']:.2f}x)",
        )  # fmt: skip
    axes.axhline(1, color="#888888", linewidth=0.8)
    tell(axes, "times faster a picture, miniature", lambda value: f"{value:g}x")
    leave_room(axes)


def cost_panel(axes: Axes, path: Path) -> None:
    for number, (name, found) in enumerate(bundles(path).items()):
        widths = [int(width) for width in found["widths"]]
        values = [row["median_seconds"][PASS] * 1e3 for row in found["widths"].values()]
        axes.plot(widths, values, **style(number), label=name)
    axes.set_yscale("log")
    tell(axes, "milliseconds of a pass, two rows", lambda value: f"{value:g}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    leave_room(axes)


def expected_panel(axes: Axes, path: Path, times_fewer: dict[int, float]) -> None:
    for number, (name, found) in enumerate(bundles(path).items()):
        pairs = [
            (int(width), times_fewer[int(width)] / row["beside_first"])
            for width, row in found["widths"].items()
            if int(width) in times_fewer
        ]
        axes.plot(*zip(*pairs, strict=True), **style(number), label=name)
    axes.axhline(1, color="#888888", linewidth=0.8)
    tell(axes, "speed-up to expect, if guesses\ncame true as on the miniature", lambda value: f"{value:g}x")  # fmt: skip
    leave_room(axes)


def style(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)],
        "markersize": 4, "linewidth": 1.3,
    }  # fmt: skip


def leave_room(axes: Axes) -> None:
    """A third more height, for the legend."""
    low, high = axes.get_ylim()
    logarithmic = axes.get_yscale() == "log"
    axes.set_ylim(low, high * (high / low) ** (1 / 3) if logarithmic else high + (high - low) / 3)


def tell(axes: Axes, what: str, number: Callable[[float], str], given: Sequence[int] = ()) -> None:
    """Axes and legend of a panel over the codes of a pass: ``given``, or those of its lines."""
    axes.set_xscale("log", base=2)
    drawn = (int(x) for line in axes.lines for x in np.asarray(line.get_xdata()) if x >= 1)
    widths = sorted({*(given or drawn)})
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.set_xlabel("codes of a pass")
    axes.set_ylabel(what)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7.5, loc="upper left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="a .png or .svg file")
    for name in ("passes", "time", "cost"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE")
    given = parser.parse_args()
    panels: list[Callable[[Axes], None]] = []
    if given.passes:
        panels.append(lambda axes: passes_panel(axes, given.passes))
    if given.time:
        panels.append(lambda axes: time_panel(axes, given.time))
    if given.cost:
        panels.append(lambda axes: cost_panel(axes, given.cost))
    if given.cost and given.passes:
        panels.append(lambda axes: expected_panel(axes, given.cost, fewer(given.passes)))
    if not panels:
        raise SystemExit("nothing to draw: give --passes, --time or --cost")
    mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "parallel"})
    rows, columns = -(-len(panels) // 2), min(len(panels), 2)
    figure, places = plt.subplots(
        rows, columns, figsize=(4.8 * columns, 3.5 * rows), dpi=_DPI, layout="constrained", squeeze=False,
    )  # fmt: skip
    for place, panel in zip(places.flat, panels, strict=False):
        panel(place)
    for place in places.flat[len(panels) :]:
        place.set_axis_off()
    with written_aside(given.target) as aside:
        figure.savefig(aside, format=given.target.suffix[1:], dpi=_DPI, metadata={"Software": None})


if __name__ == "__main__":
    main()
