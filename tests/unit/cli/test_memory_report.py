"""`janus-edge info --memory`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from janus_edge.bundle import Bundle
from janus_edge.graphs import Graph
from janus_edge.runtime.memory_budget import ModelBytes, budgets


def test_the_tables(janus_edge: Callable[..., Any], tiny_bundle: Path) -> None:
    """Every graph, the cache, the sum, and what each machine has left; what is not counted is said."""
    done = janus_edge("info", tiny_bundle, "--memory")
    assert (done.code, done.err) == (0, "")
    lines = {line.split("  ")[0].strip(): line for line in done.out.splitlines()}
    for graph in Graph:
        assert f"weights of {graph.value}" in lines
    assert lines["rows x positions"].split("  ")[-1].strip() == "2 x 128"
    assert {"KV cache", "scratch", "total", "8 GB", "64 GB"} <= lines.keys()
    assert "128.0 KiB of text embeddings are mapped" in done.out
    assert {"CUDA context (estimate)", "page cache while opening (estimate)"} <= lines.keys()
    assert "The CUDA context is an estimate." in done.out


def test_as_json(janus_edge: Callable[..., Any], tiny_bundle: Path) -> None:
    """The same in bytes."""
    done = janus_edge("info", tiny_bundle, "--memory", "--json", "--rows", 8, "--capacity", 256)
    data = json.loads(done.out)
    painting = budgets(ModelBytes.of(Bundle.open(tiny_bundle)), 8, 256)[0]
    found = data["uses"]["painting"]
    assert (found["rows"], found["capacity"], found["total"]) == (8, 256, painting.total)
    assert sum(found["parts"].values()) == found["total"]
    assert found["left"]["8 GB"] == (8 << 30) - data["system"]["8 GB"] - found["total"]


@pytest.mark.parametrize("option", ["--rows", "--capacity"])
def test_options_that_would_be_ignored(
    janus_edge: Callable[..., Any], tiny_bundle: Path, option: str
) -> None:
    done = janus_edge("info", tiny_bundle, option, 4)
    assert done.code == 2
    assert f"{option} is for --memory" in done.error


def test_a_capacity_beyond_the_model(janus_edge: Callable[..., Any], tiny_bundle: Path) -> None:
    done = janus_edge("info", tiny_bundle, "--memory", "--capacity", 5000)
    assert done.code == 2
    assert "1024 positions" in done.error
