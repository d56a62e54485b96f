"""The table of what `benchmarks/quantization.py` wrote, in Markdown.

    python benchmarks/quantization_table.py benchmarks/results/quantization-miniature.json \
        benchmarks/results/quantization-miniature.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from janus_edge.atomic_file import written_aside

Row = dict[str, Any]
#: Variants with a bar: most points that every category may lie below float.
BARS = {"int8-weight": 0.5, "int8": 1.0, "int4-weight block 32 GPTQ": 2.0}
#: What the categories that are not painted are called.
_ANSWERS = "answers: "


def table(report: dict[str, Any]) -> str:
    variants: dict[str, Row] = report["variants"]
    lines = [
        "# Quantisation of the miniature",
        "",
        f"Made by `{report['command']}`, {report['machine'].get('date', '')}; "
        "`quantization_table.py` writes this page from the JSON beside it.",
        "",
        "KL, top-1: guided image logits against float's after the same codes, nats and %. PSNR: VQ "
        "decoder against float's, dB. Pictures, answers: percent right; behind it the difference "
        "from float over the same prompts and noise, in points with its 95 % interval.",
        "",
        "| variant | MiB | KL mean | KL 99 % | top-1 | PSNR | pictures | answers |",
        "|---|--:|--:|--:|--:|--:|---|---|",
    ]
    lines += [_line(name, row) for name, row in variants.items()]
    failed = {name: row["failed"] for name, row in variants.items() if "failed" in row}
    if failed:
        lines += ["", "## Bundles that cannot be opened", ""]
        lines += [f"- {name}: {_one_line(why)}" for name, why in failed.items()]
    told = [line for name, row in variants.items() for line in _left_out(name, row)]
    if told:
        lines += ["", "## Graphs that a library could not quantise, which stay in float", "", *told]
    lines += ["", "## Differences from float by category", ""]
    for name, bar in BARS.items():
        if "minus_float" in variants.get(name, {}):
            lines += _categories(name, bar, variants[name])
    return "\n".join(lines).rstrip() + "\n"


def _line(name: str, row: Row) -> str:
    parity = row.get("parity")
    cells = [name, f"{row['bytes'] / (1 << 20):.1f}" if "bytes" in row else ""]
    if parity:
        guided = parity["forced"]["guided"]
        psnr = parity["graphs"]["vq_decoder"]["psnr_db"]
        cells += [
            f"{guided['kl_mean']:.5f}", f"{guided['kl_p99']:.4f}", f"{100 * guided['top1']:.2f}",
            "equal" if psnr >= 200 else f"{psnr:.1f}",
        ]  # fmt: skip
    else:
        cells += [""] * 4
    for part in ("painting", "understanding"):
        cells.append(_share(row, part) if part in row else "")
    return f"| {' | '.join(cells)} |"


def _share(row: Row, part: str) -> str:
    share = row[part]["overall"]
    told = f"{100 * share['share']:.1f} of {share['total']}"
    if "minus_float" in row:
        told += f"; {_difference(row['minus_float'][part]['overall'])}"
    return told


def _difference(found: Row) -> str:
    return f"{found['points']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"


def _left_out(name: str, row: Row) -> list[str]:
    reports = row.get("graphs", {}).items()
    return [
        f"- {name}, {graph}: {_one_line(told['error'])}"
        for graph, told in reports
        if "error" in told
    ]


def _categories(name: str, bar: float, row: Row) -> list[str]:
    lines = [
        f"**{name}**: not more than {bar:g} points below float is asked of every category.", "",
        "| category | points (95 % interval) | pairs that differ | interval within the bar |",
        "|---|---|--:|---|",
    ]  # fmt: skip
    for part, prefix in (("painting", ""), ("understanding", _ANSWERS)):
        for category, found in row["minus_float"][part].items():
            within = "yes" if found["low"] >= -bar else "not decided"
            if found["high"] < -bar:
                within = "no"
            lines.append(
                f"| {prefix}{category} | {_difference(found)} | {found['differ']} of {found['of']} "
                f"| {within} |"
            )
    return [*lines, ""]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    page = table(json.loads(given.report.read_text("utf-8")))
    with written_aside(given.target) as aside:
        aside.write_text(page, "utf-8")
