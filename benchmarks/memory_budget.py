"""Memory budgets at the published dimensions: the tables of docs/jetson.md.

    PYTHONPATH=. python benchmarks/memory_budget.py --out benchmarks/results/memory-budget.json

Nothing is measured: the bytes are computed from dimensions and recipes (janus_edge/weight_table.py,
whose test holds them equal to a real bundle's), the scratch memory is estimated and the system's
share is an allowance (janus_edge/runtime/memory_budget.py says how). Needs the extra `export`, which
holds the dimensions; of a bundle or an engine, `janus-edge info --memory` prints the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from janus_edge.calib.recipes import quantised_recipe
from janus_edge.export.synthetic import DIMENSIONS
from janus_edge.recipe import RECIPES, Recipe
from janus_edge.runtime.kv_cache import cache_bytes
from janus_edge.runtime.memory_budget import (
    GIB,
    MACHINES,
    Budget,
    ModelBytes,
    budgets,
    system_bytes,
)

MODELS = ("1b", "7b")
PRECISIONS: dict[str, Recipe] = {
    "fp16": RECIPES["fp16"],
    **{name: quantised_recipe(name, "float16") for name in ("int8", "int8-weight", "int4-weight")},
}
CAPACITIES = (640, 1216, 2048, 4096, 16384)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2, help="when painting, two per picture")
    parser.add_argument("--capacity", type=int, help="of the KV cache; as planned if not given")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    results: dict[str, object] = {"rows": given.rows, "capacity": given.capacity}
    for model in MODELS:
        found = {
            name: budgets(
                ModelBytes.of_dimensions(DIMENSIONS[model], recipe), given.rows, given.capacity
            )
            for name, recipe in PRECISIONS.items()
        }
        print(f"\n### {model.upper()}: parts, in GiB\n")
        print_parts(found)
        print(f"\n### {model.upper()}: memory left, in GiB\n")
        print_left(found)
        results[model] = {name: as_json(planned) for name, planned in found.items()}
    print("\n### KV cache in float16, in GiB\n")
    results["cache"] = print_caches()
    if given.out:
        given.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def print_parts(found: dict[str, tuple[Budget, ...]]) -> None:
    """A column per precision: each part of everything, then the totals of the uses."""
    table = {name: {i.what: i.nbytes for i in planned[-1].items} for name, planned in found.items()}
    print("| |", " | ".join(found), "|")
    print("|---|", *("---:|" for _ in found))
    for what in next(iter(table.values())):
        print(f"| {what} |", " | ".join(gib(parts[what]) for parts in table.values()), "|")
    for index, budget in enumerate(next(iter(found.values()))):
        label = f"total, {budget.use}: cache {budget.rows} x {budget.capacity}"
        totals = (gib(planned[index].total) for planned in found.values())
        print(f"| **{label}** |", " | ".join(totals), "|")


def print_left(found: dict[str, tuple[Budget, ...]]) -> None:
    uses = [budget.use for budget in next(iter(found.values()))]
    print("| memory | system |", " | ".join(f"{n}: {', '.join(uses)}" for n in found), "|")
    print("|---:|---:|", *("---:|" for _ in found))
    for memory in MACHINES:
        cells = (
            ", ".join(gib(budget.headroom(memory), 1) for budget in planned)
            for planned in found.values()
        )
        print(f"| {memory // GIB} GB | {gib(system_bytes(memory))} |", " | ".join(cells), "|")


def print_caches() -> dict[str, dict[str, int]]:
    """Bytes per model, rows and capacity."""
    columns = [(model, rows) for model in MODELS for rows in (1, 2, 8)]
    print("| positions |", " | ".join(f"{m.upper()}, {rows} rows" for m, rows in columns), "|")
    print("|---:|", *("---:|" for _ in columns))
    found: dict[str, dict[str, int]] = {}
    for capacity in CAPACITIES:
        sizes = {
            f"{model} x {rows}": cache_bytes(DIMENSIONS[model].language, rows, capacity, 2)
            for model, rows in columns
        }
        print(f"| {capacity} |", " | ".join(gib(size) for size in sizes.values()), "|")
        found[str(capacity)] = sizes
    return found


def as_json(planned: tuple[Budget, ...]) -> dict[str, object]:
    return {
        budget.use: {
            "rows": budget.rows,
            "capacity": budget.capacity,
            "parts": {item.what: item.nbytes for item in budget.items},
            "total": budget.total,
            "left": {f"{memory // GIB} GB": budget.headroom(memory) for memory in MACHINES},
        }
        for budget in planned
    }


def gib(size: int, digits: int = 2) -> str:
    return f"{size / GIB:.{digits}f}"


if __name__ == "__main__":
    main()
