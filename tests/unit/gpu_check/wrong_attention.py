"""Engines of the fake TensorRT whose steps attend to the first position only.

That is what NVIDIA's parser makes of Attention: it drops `nonpad_kv_seqlen` and aligns the causal mask
to the upper left. A prefill into an empty cache stays right.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import onnx

from janus_edge.bundle import Bundle
from janus_edge.engines.build import BuiltGraph
from janus_edge.graphs import Graph
from janus_edge.progress import Row

#: Inputs of Attention: six before `nonpad_kv_seqlen`.
_KEPT = 6


class WrongAttention:
    """``target``, whose language model runs without `nonpad_kv_seqlen`; graphs go to ``folder``."""

    def __init__(self, target: Any, folder: Path) -> None:
        self._target, self._folder = target, folder / "wrong-attention"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def build(self, bundle: Bundle, graph: Graph, folder: Path, row: Row) -> BuiltGraph:
        """As the target's, with another graph in the language model's plan."""
        built: BuiltGraph = self._target.build(bundle, graph, folder, row)
        if graph is Graph.LANGUAGE_MODEL:
            plan = folder / built.entry.file
            named = json.loads(plan.read_text("utf-8"))
            named["onnx"] = str(wrong(bundle.graph(graph), self._folder / bundle.path.name))
            plan.write_text(json.dumps(named), "utf-8")
        return built


def wrong(path: Path, folder: Path) -> Path:
    """The graph as the parser understands it, with links to its weights, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(path, load_external_data=False)
    changed = 0
    for node in model.graph.node:
        if node.op_type == "Attention" and len(node.input) > _KEPT:
            del node.input[_KEPT:]
            while not node.input[-1]:
                del node.input[-1]
            changed += 1
    assert changed
    for weights in path.parent.glob(f"{path.stem}.weights*"):
        if not (folder / weights.name).exists():
            os.link(weights, folder / weights.name)
    onnx.save(model, folder / path.name)
    return folder / path.name
