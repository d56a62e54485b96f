"""Record which graphs TensorRT-RTX builds for which compute capabilities, without a GPU.

    python benchmarks/tensorrt_rtx_build.py janus-fp16 janus-int8 --sm 8.9 --sm 12.0 --out builds.json

Builds as `janus-edge build --target tensorrt-rtx` does, once for each bundle and compute capability.
NVIDIA's own parser and builder need no driver. For each graph a table says whether it was built, whether
its attention is fused or decomposed, and how many bytes its weights take in the bundle's graph and in
the plan. Only a GPU can show that a plan runs, and how fast.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from machine import describe, version

from janus_edge.bundle import Bundle
from janus_edge.engines.targets import TargetOptions, target
from janus_edge.errors import JanusEdgeError
from janus_edge.graphs import Graph
from janus_edge.progress import silent

TARGET = "tensorrt-rtx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--sm", action="append", help="compute capability; default: 8.9, 12.0")
    parser.add_argument("--profile", default="", help="as in janus-edge build")
    parser.add_argument("--out", type=Path, help="JSON; a Markdown table is written beside it")
    args = parser.parse_args()
    wanted = args.sm or ["8.9", "12.0"]
    rows = [row for path in args.bundles for row in tried(path, wanted, args.profile)]
    names = " ".join(path.name for path in args.bundles)
    report = {
        "machine": describe() | {"tensorrt_rtx": version("tensorrt_rtx")},
        "command": f"python benchmarks/tensorrt_rtx_build.py {names} "
        + " ".join(f"--sm {one}" for one in wanted),
        "builds": rows,
    }
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        args.out.with_suffix(".md").write_text(markdown(report), "utf-8")
    print(markdown(report))
    sys.exit(
        any(row["result"] != "built" for row in rows)
    )  # a graph that a GPU cannot compute counts, too


def tried(path: Path, capabilities: list[str], profile: str) -> list[dict[str, Any]]:
    """Return one row for each graph and compute capability."""
    bundle, rows = Bundle.open(path), []
    for capability in capabilities:
        options = TargetOptions(profile=profile, capabilities=(capability,))
        made = target(TARGET, bundle.manifest.config, options)
        for graph in Graph:
            row: dict[str, Any] = {
                "recipe": bundle.manifest.recipe.name,
                "capability": capability,
                "graph": graph.value,
            }
            try:
                made.check(bundle)
                row |= built(made, bundle, graph)
            except JanusEdgeError as failure:
                row["result"] = str(failure)
            rows.append(row)
            print(f"{path.name} {capability} {graph.value}: {row['result']}", file=sys.stderr)
    return rows


def built(made: Any, bundle: Bundle, graph: Graph) -> dict[str, Any]:
    with TemporaryDirectory() as folder, silent(graph.value) as progress:
        done = made.build(bundle, graph, Path(folder), progress)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.plan"))
    return {
        "result": "built",
        "attention": done.build.attention,
        "graph_bytes": done.build.weight_bytes,
        "plan_weight_bytes": done.build.device_weight_bytes,
        "plan_bytes": size,
        "passes": {name: report.changed for name, report in done.build.passes.items()},
        "notes": done.build.notes,
    }


def markdown(report: dict[str, Any]) -> str:
    """Return a line for each recipe and graph, with the compute capabilities as columns."""
    rows = report["builds"]
    capabilities = [*dict.fromkeys(row["capability"] for row in rows)]
    lines = [
        "# Builds of TensorRT-RTX without a GPU",
        "",
        f"`{report['command']}`; {json.dumps(report['machine'])}",
        "",
        "f: attention is fused, d: decomposed, -: the graph has none. Weights: bytes in the plan over "
        "bytes in the graph.",
        "",
        f"| recipe | graph | {' | '.join(capabilities)} | weights |",
        f"|---|---|{'---|' * len(capabilities)}--:|",
    ]
    keys = dict.fromkeys((row["recipe"], row["graph"]) for row in rows)
    for recipe, graph in keys:
        mine = [row for row in rows if (row["recipe"], row["graph"]) == (recipe, graph)]
        cells = [cell(next(r for r in mine if r["capability"] == one)) for one in capabilities]
        lines.append(f"| {recipe} | {graph} | {' | '.join(cells)} | {growth(mine[-1])} |")
    refused = {
        f"{r['recipe']} {r['capability']}: {r['result']}" for r in rows if r["result"] != "built"
    }
    if refused:
        lines += ["", *(f"* {line}" for line in sorted(refused))]
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any]) -> str:
    if row["result"] != "built":
        return "refused"
    kind = {"fused": "f", "decomposed": "d"}.get(row["attention"], "-")
    return f"built, {kind}" + (f", {len(row['notes'])} notes" if row["notes"] else "")


def growth(row: dict[str, Any]) -> str:
    if row["result"] != "built" or not row["plan_weight_bytes"]:
        return ""
    return f"{row['plan_weight_bytes'] / row['graph_bytes']:.2f}"


if __name__ == "__main__":
    main()
