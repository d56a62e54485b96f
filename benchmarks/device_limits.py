"""Minimum time of a painting step by device: the bytes it must read over the memory's bandwidth.

    PYTHONPATH=. python benchmarks/device_limits.py --out benchmarks/results/device-limits.json

Nothing is measured. A step of one picture has two rows (guidance). It reads:
* the weights of the language model and the image head, as a recipe stores them
  (janus_edge/weight_table.py, which a test compares with real bundles);
* the keys and values of both rows up to the position;
* the rows that it needs of tables: rotary sines and cosines, and the code's embedding.
Activations and repeated reads by a kernel are not counted. Bandwidths are those of NVIDIA's data
sheets, which no GPU reaches. Needs the extra `export`, which holds the dimensions.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from janus_edge.calib.recipes import Changes, quantised_recipe
from janus_edge.config import JanusConfig
from janus_edge.export.synthetic import DIMENSIONS
from janus_edge.graphs import Graph
from janus_edge.recipe import RECIPES, Recipe
from janus_edge.runtime.kv_cache import cache_bytes
from janus_edge.weight_table import weights

#: Memory bandwidth in GB/s (10^9), from NVIDIA's data sheets.
DEVICES = {
    "Orin Nano": 68.0, "Orin NX, Nano Super": 102.4, "AGX Orin": 204.8, "Thor": 273.0, "4090": 1008.0,
    "H100": 3350.0, "H200": 4800.0,
}  # fmt: skip

MODELS = ("1b", "7b")
PRECISIONS: dict[str, Recipe] = {
    "fp16": RECIPES["fp16"],
    **{name: quantised_recipe(name, "float16") for name in ("int8", "int8-weight")},
    "int4-weight, blocks of 32": quantised_recipe("int4-weight", "float16"),
    # TensorRT has kernels for these blocks
    "int4-weight, blocks of 128": quantised_recipe("int4-weight", "float16", Changes(block=128)),
}

#: Graphs of a step that read weights; the sampler has none.
GRAPHS = (Graph.LANGUAGE_MODEL, Graph.IMAGE_HEAD, Graph.IMAGE_EMBEDDING)

#: Tables that a step reads rows from.
TABLES = ("rotary_cos", "rotary_sin", "table")

ROWS, POSITION = 2, 330


def step_bytes(config: JanusConfig, recipe: Recipe, rows: int, position: int) -> dict[str, int]:
    """Return the bytes of weights, cache and table rows that a step reads."""
    found = {"weights": 0, "tables": 0}
    for graph in GRAPHS:
        for weight in weights(graph, config):
            if weight.name in TABLES:
                found["tables"] += rows * weight.shape[1] * recipe.bytes_per_float
                continue
            scheme = recipe.scheme(graph.value, weight.node) if weight.node else None
            found["weights"] += weight.stored_bytes(recipe, scheme)
    # the new position is read, too
    found["cache"] = cache_bytes(config.language, rows, position + 1, recipe.bytes_per_cached)
    return found


def limits(rows: int = ROWS, position: int = POSITION) -> dict[str, dict[str, dict[str, float]]]:
    """Return GB per step, and milliseconds by device, for each model and recipe."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for model in MODELS:
        for name, recipe in PRECISIONS.items():
            total = sum(step_bytes(DIMENSIONS[model], recipe, rows, position).values()) / 1e9
            times = {device: 1e3 * total / speed for device, speed in DEVICES.items()}
            table.setdefault(model, {})[name] = {"GB": total, **times}
    return table


def markdown(table: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of docs/jetson.md, with milliseconds to three digits."""
    heads = [f"{device}, {speed:.0f} GB/s" for device, speed in DEVICES.items()]
    lines = [f"| | GB a step | {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) + 1)}"]
    for model, recipes in table.items():
        for name, row in recipes.items():
            cells = " | ".join(digits(row[device]) for device in DEVICES)
            lines.append(f"| {model.upper()} {name} | {row['GB']:.2f} | {cells} |")
    return "\n".join(lines)


def digits(value: float) -> str:
    """Format with three digits, and from 100 on without decimals."""
    return (
        f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value < 100 else f"{value:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="two per picture")
    parser.add_argument(
        "--position", type=int, default=POSITION, help="filled positions of the cache"
    )
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    table = limits(given.rows, given.position)
    print(markdown(table))
    if given.out:
        result = {
            "rows": given.rows, "position": given.position, "gigabytes_per_second": DEVICES,
            "milliseconds": table,
        }  # fmt: skip
        given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
