"""Accuracy over guidance scales, from what `janus-edge evaluate --json` printed.

    python benchmarks/plot_guidance.py benchmarks/results/evaluate-miniature.json docs/guidance.png

A line per category of the painting part; the band is the 95 % interval of the mean. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from janus_edge.atomic_file import written_aside
from janus_edge.evaluation import Report


def plot(report: Report, target: Path) -> None:
    assert report.painting is not None, "the report has no painting part"
    scales = sorted(report.painting.scales, key=lambda scale: scale.guidance_scale)
    across = [scale.guidance_scale for scale in scales]
    mpl.rcParams.update({"font.size": 10, "svg.hashsalt": "guidance"})
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for category in scales[0].categories:
        shares = [100 * scale.categories[category].score.share for scale in scales]
        axes.plot(across, shares, marker="o", markersize=3.5, linewidth=1.2, label=category)
    mean = [scale.overall for scale in scales]
    axes.fill_between(
        across, [100 * m.low for m in mean], [100 * m.high for m in mean], color="black", alpha=0.12
    )
    axes.plot(across, [100 * m.share for m in mean], color="black", linewidth=2.4, label="mean")
    axes.set_xlabel("guidance scale")
    axes.set_ylabel("pictures that show their prompt, %")
    axes.set_xticks(across, [f"{scale:g}" for scale in across])
    axes.set_ylim(0, 101)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    with written_aside(target) as aside:
        figure.savefig(aside, format=target.suffix[1:], dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    plot(Report.from_json(json.loads(given.report.read_text("utf-8"))), given.target)
