"""Bars of what `run.py` wrote: a panel per item of work, a bar per peer.

    python benchmarks/peers/speed/plot.py benchmarks/results/peers-1b-cpu.json docs/peers.png

A bar is the median and its line runs from the 10th to the 90th percentile; behind it stand the time, and
how many times as long it takes as the peer that ratios are taken against. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from janus_edge.atomic_file import written_aside

TITLES = {
    "step": "one step, two rows", "prefill": "prefill, 620 tokens", "vision": "vision encoder",
    "vq": "VQ decoder", "picture": "whole picture",
}  # fmt: skip
#: Start of a peer's name -> colour.
COLOURS = {
    "janus-edge": "#1f5fa8", "OpenVINO": "#7a4fa3", "llama.cpp": "#3f8f3f", "transformers.js": "#b8860b",
    "transformers": "#c0504d", "torch.compile": "#8c8c8c",
}  # fmt: skip


def plot(items: dict[str, Any], target: Path) -> None:
    panels = {item: _done(found) for item, found in items.items() if _done(found)}
    if not panels:
        raise SystemExit("nothing is measured")
    mpl.rcParams.update({"font.size": 8.5})
    heights = [len(rows) + 1.2 for rows in panels.values()]
    figure, all_axes = plt.subplots(
        len(panels), figsize=(8.6, 0.22 * sum(heights) + 0.5), height_ratios=heights, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for axes, (item, rows) in zip(all_axes[:, 0], panels.items(), strict=True):
        _panel(axes, TITLES[item], rows)
    with written_aside(target) as aside:
        figure.savefig(aside, format="png", dpi=130, metadata={"Software": None})


def _done(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    done = {name: row for name, row in found["peers"].items() if "seconds" in row}
    return dict(sorted(done.items(), key=lambda pair: -pair[1]["seconds"]["median"]))


def _panel(axes: Axes, title: str, rows: dict[str, dict[str, Any]]) -> None:
    medians = [row["seconds"]["median"] for row in rows.values()]
    unit, scale = ("ms", 1000) if max(medians) < 10 else ("s", 1)
    for place, (name, row) in enumerate(rows.items()):
        seconds = row["seconds"]
        colour = next(c for start, c in COLOURS.items() if name.startswith(start))
        axes.barh(place, scale * seconds["median"], color=colour, height=0.72)
        axes.plot(
            [scale * seconds["p10"], scale * seconds["p90"]], [place, place], color="black", lw=1
        )
        far = scale * max(seconds["median"], seconds["p90"])
        ratio = row["over_reference"]["median"]
        shown = f" {_digits(scale * seconds['median'])} {unit} ({_digits(ratio)}x)"
        axes.text(far, place, shown, va="center", fontsize=7.5)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xlim(
        0, 1.3 * scale * max(max(r["seconds"]["p90"] for r in rows.values()), max(medians))
    )
    axes.set_title(f"{title} ({unit})", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _digits(value: float) -> str:
    """Three that count, and all before the point."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    plot(json.loads(given.report.read_text("utf-8"))["items"], given.target)


if __name__ == "__main__":
    main()
