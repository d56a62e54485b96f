"""What each layer group costs when it alone is quantised, from `janus-edge sensitivity --json`.

    python benchmarks/plot_sensitivity.py benchmarks/results/sensitivity-miniature-int8.json \
        docs/sensitivity.png

A row per group, in the order of the graphs; what the mixed recipe keeps in float stands out. Groups
that move no logit are those of the VQ model, measured by its pictures and codes in panels of their
own. A group whose effect is exactly 0 has a row and no mark. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from janus_edge.atomic_file import written_aside
from janus_edge.calib.sensitivity import GroupSensitivity
from janus_edge.errors import InputError
from janus_edge.recipe import Recipe
from janus_edge.schema import from_dict

Values = Callable[[GroupSensitivity], float]
IMAGE, TEXT, KEPT = "#1f5fa8", "#d98200", "#c62f2f"
#: What a PSNR is limited to: nothing changed.
_SAME_DB = 200


def plot(data: dict[str, Any], target: Path) -> None:
    groups = [_read(GroupSensitivity, group) for group in data["groups"]]
    kept = kept_groups(_read(Recipe, data["recipe"]), _read(Recipe, data["mixed"]))
    vq = [group for group in groups if group.group.startswith("vq_")]
    parts = [
        ([g for g in groups if g not in vq], "KL divergence of the logits from float, nats"),
        ([g for g in vq if g.group.startswith("vq_decoder")], "VQ decoder, PSNR, dB"),
        ([g for g in vq if g.group.startswith("vq_encoder")], "VQ encoder, codes that change, %"),
    ]
    parts = [(members, label) for members, label in parts if members]
    mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "sensitivity"})
    rows = [len(members) for members, _ in parts]
    figure, all_axes = plt.subplots(
        len(parts), figsize=(7.2, 0.19 * sum(rows) + 0.75 * len(parts) + 0.4),
        height_ratios=[count + 1 for count in rows], layout="constrained", squeeze=False,
    )  # fmt: skip
    for axes, (members, label) in zip(all_axes[:, 0], parts, strict=True):
        if label.startswith("KL"):
            axes.set_xscale("log")
            _marks(axes, members, lambda g: g.image_kl, IMAGE, "o")
            _marks(axes, members, lambda g: g.text_kl, TEXT, "D")
        elif "PSNR" in label:
            _marks(axes, members, lambda g: g.psnr_db if g.psnr_db < _SAME_DB else 0, IMAGE, "o")
            axes.invert_xaxis()  # worse is to the right, as above
        else:
            _marks(axes, members, lambda g: 100 * (1 - g.equal_codes), IMAGE, "o")
        _rows(axes, members, kept)
        axes.set_xlabel(label)
    names = {"image logits": (IMAGE, "o"), "logits of answers": (TEXT, "D")}
    marks = [
        Line2D([], [], color=colour, marker=mark, linestyle="", label=name, markersize=5)
        for name, (colour, mark) in names.items()
    ]
    marks.append(Line2D([], [], color=KEPT, linewidth=7, alpha=0.25, label="kept in float"))
    title = f"each group alone in {data['recipe']['name']}"
    figure.legend(handles=marks, loc="outside upper right", ncols=3, frameon=False, title=title)
    with written_aside(target) as aside:
        figure.savefig(aside, format=target.suffix[1:], dpi=130, metadata={"Software": None})


def kept_groups(recipe: Recipe, mixed: Recipe) -> set[str]:
    """The groups that ``mixed`` keeps by the rules it has before those of ``recipe``."""
    before = mixed.rules[: len(mixed.rules) - len(recipe.rules)]
    return {rule.pattern.removesuffix("*").rstrip("./") for rule in before}


def _marks(
    axes: Axes, members: Sequence[GroupSensitivity], value: Values, colour: str, mark: str
) -> None:
    """A mark in each row whose value is above 0."""
    found = [(value(group), row) for row, group in enumerate(members) if value(group) > 0]
    if found:
        across, rows = zip(*found, strict=True)
        axes.plot(across, rows, mark, color=colour, markersize=4.5, alpha=0.9)


def _rows(axes: Axes, members: Sequence[GroupSensitivity], kept: set[str]) -> None:
    axes.set_yticks(range(len(members)), [short(group.group) for group in members])
    axes.set_ylim(len(members) - 0.4, -0.6)
    for row, (group, text) in enumerate(zip(members, axes.get_yticklabels(), strict=True)):
        if group.group in kept:
            text.set(color=KEPT, fontweight="bold")
            axes.axhspan(row - 0.45, row + 0.45, color=KEPT, alpha=0.14, linewidth=0)
    axes.grid(alpha=0.25)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def short(group: str) -> str:
    """The group's name without what all of its graph's have in common."""
    return group.replace("vision_model.encoder.", "").replace("coder/decoder.", "coder/").replace(
        "vq_encoder/encoder.", "vq_encoder/"
    )  # fmt: skip


def _read(cls: type[Any], data: Any) -> Any:
    return from_dict(cls, data, error=lambda why: InputError(f"not a sensitivity report: {why}"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    plot(json.loads(given.report.read_text("utf-8")), given.target)
