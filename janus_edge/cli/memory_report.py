"""What `janus-edge info --memory` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from janus_edge.cli.console import print_json, print_table, size

if TYPE_CHECKING:
    from janus_edge.bundle import Bundle
    from janus_edge.runtime.memory_budget import Budget, ModelBytes


def report_memory(bundle: Bundle, rows: int, capacity: int | None, *, as_json: bool) -> None:
    """Print the budget of each use and what machines have left; raises InputError as `budgets`."""
    from janus_edge.runtime.memory_budget import MACHINES, ModelBytes, budgets, system_bytes

    model = ModelBytes.of(bundle)
    planned = budgets(model, rows, capacity)
    if as_json:
        print_json(_json(model, planned))
        return
    print_table(
        str(bundle.path),
        ["", *(f"{budget.use}>" for budget in planned)],
        _parts(planned),
    )
    machines = [
        (
            f"{memory >> 30} GB",
            size(system_bytes(memory)),
            *(_left(budget.headroom(memory)) for budget in planned),
        )
        for memory in MACHINES
    ]
    columns = ["memory", "system>", *(f"{budget.use}>" for budget in planned)]
    print_table("left beside the system, by allowance", columns, machines)
    scratch = "as its builder states" if model.scratch else "an estimate"
    click.echo(
        f"Scratch memory is {scratch}; {size(model.text_embeddings)} of text embeddings are mapped "
        "from their file and not counted. Building an engine takes more than running it."
    )
    if model.cuda:
        click.echo(
            "The CUDA context is an estimate. While a plan opens, its file is also in the page cache, "
            f"up to {size(max(budget.page_cache for budget in planned))} (an estimate). This is not "
            "counted: Linux frees it on demand, and janus-edge drops it where GPU and host share memory."
        )


def _parts(planned: tuple[Budget, ...]) -> list[tuple[str, ...]]:
    names = dict.fromkeys(item.what for budget in reversed(planned) for item in budget.items)
    sizes = [{item.what: item.nbytes for item in budget.items} for budget in planned]
    caches = (f"{budget.rows} x {budget.capacity}" for budget in planned)
    return [
        ("rows x positions", *caches),
        *(
            (name, *(size(parts[name]) if name in parts else "" for parts in sizes))
            for name in names
        ),
        ("total", *(size(budget.total) for budget in planned)),
        *(
            [("page cache while opening (estimate)", *(size(b.page_cache) for b in planned))]
            if any(budget.page_cache for budget in planned)
            else []
        ),
    ]


def _left(headroom: int) -> str:
    return size(headroom) if headroom >= 0 else f"short of {size(-headroom)}"


def _json(model: ModelBytes, planned: tuple[Budget, ...]) -> dict[str, object]:
    from janus_edge.runtime.memory_budget import MACHINES, system_bytes

    return {
        "text_embeddings": model.text_embeddings,
        "scratch_stated_for": [graph.value for graph in model.scratch],
        "system": {f"{memory >> 30} GB": system_bytes(memory) for memory in MACHINES},
        "uses": {
            budget.use: {
                "rows": budget.rows,
                "capacity": budget.capacity,
                "parts": {item.what: item.nbytes for item in budget.items},
                "total": budget.total,
                "page_cache": budget.page_cache,
                "left": {f"{memory >> 30} GB": budget.headroom(memory) for memory in MACHINES},
            }
            for budget in planned
        },
    }
