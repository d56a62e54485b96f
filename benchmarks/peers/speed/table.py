"""The table of what `run.py` wrote, in Markdown.

    python benchmarks/peers/speed/table.py benchmarks/results/peers-1b-cpu.json \
        benchmarks/results/peers-1b-cpu.md
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from janus_edge.atomic_file import written_aside

TITLES = {
    "step": "Step: language model at two rows around position 300, image head, guidance",
    "prefill": "Prefill: 620 tokens, one row",
    "vision": "Vision encoder: one picture",
    "vq": "VQ decoder: one picture",
    "picture": "Whole picture: 18 tokens of prompt, 576 codes, VQ decoder",
}


def table(report: dict[str, Any]) -> str:
    machine, settings = report["machine"], report["settings"]
    memory = machine["memory_bytes"] / (1 << 30)
    lines = [
        "# Peers side by side",
        "",
        f"Made by `{report['command']}`, {machine['date']}, on {machine['processor']} "
        f"({', '.join(machine['instructions'])}), {machine['cores']} cores, {memory:.0f} GiB, "
        f"{settings['threads']} threads; `table.py` writes this page from the JSON beside it.",
        "",
        "Times: median, and the 10th and 90th percentile. Over: times the duration of the peer that says 1.00, "
        "the median of the rounds' ratios, and their smallest and largest. Memory: largest resident set while "
        "running, and with loading. Agreement with transformers in float32: cosine, and for steps the "
        "share of equal codes.",
    ]
    for item, found in report["items"].items():
        lines += ["", f"## {TITLES[item]}", "", "| peer | ms | p10 to p90 | over | GiB running | GiB at most | agreement |",
                  "|---|--:|--:|--:|--:|--:|---|"]  # fmt: skip
        done = {name: row for name, row in found["peers"].items() if "seconds" in row}
        ordered = sorted(done, key=lambda name: done[name]["seconds"]["median"])
        lines += [_line(name, done[name]) for name in ordered]
        failed = {n: row["failed"] for n, row in found["peers"].items() if n not in done and row}
        lines += ["", *(f"- {n}: {why}" for n, why in failed.items())] if failed else []
    return "\n".join(lines) + "\n"


def _line(name: str, row: dict[str, Any]) -> str:
    seconds, over, memory = row["seconds"], row["over_reference"], row["memory"]
    spread = f"{_ms(seconds['p10'])} to {_ms(seconds['p90'])}"
    ratio = f"{over['median']:.2f} ({over['min']:.2f} to {over['max']:.2f})"
    agreed = row.get("agreement")
    close = "" if agreed is None else f"{agreed['cosine']:.5f}"
    if agreed and "top1" in agreed:
        close += f", {100 * agreed['top1']:.0f} %"
    cells = [
        name,
        _ms(seconds["median"]),
        spread,
        ratio,
        _gib(memory["running"]),
        _gib(memory["peak"]),
    ]
    return f"| {' | '.join([*cells, close])} |"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}" if seconds < 1 else f"{1000 * seconds:.0f}"


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    with written_aside(given.target) as aside:
        aside.write_text(table(json.loads(given.report.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
