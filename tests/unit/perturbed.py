"""Bundles with changes: weights a little off, as quantising leaves them, or other manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from janus_edge.graphs import Graph


def perturb(
    bundle: Path, size: float, graphs: tuple[Graph, ...] = (*Graph,), seed: int = 0
) -> Path:
    """Multiply every stored float32 weight of ``graphs`` by 1 + ``size`` times normal noise.

    One seed gives the same noise at any size. Small weights (below 1 KiB) lie in the graph's own
    file and stay. The bundle is sealed again, so that it opens.
    """
    for graph in graphs:
        path = bundle / "graphs" / f"{graph.value}.weights"
        if path.is_file():
            model = onnx.load(str(path.with_suffix(".onnx")), load_external_data=False)
            content = np.fromfile(path, np.uint8)
            rng = np.random.default_rng(seed)
            for tensor in model.graph.initializer:
                place = {entry.key: entry.value for entry in tensor.external_data}
                if place and tensor.data_type == onnx.TensorProto.FLOAT:
                    start = int(place.get("offset", 0))
                    values = content[start : start + int(place["length"])].view(np.float32)
                    noise = rng.normal(size=len(values)).astype(np.float32)
                    values *= 1 + np.float32(size) * noise
            content.tofile(path)
            seal(bundle, f"graphs/{path.name}")
    return bundle


def seal(bundle: Path, name: str) -> None:
    """Make the manifest agree with what a file is now."""
    content = (bundle / name).read_bytes()
    entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_manifest(bundle, lambda data: data["files"].update({name: entry}))


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Let ``change`` alter a bundle's manifest in place."""
    path = bundle / "manifest.json"
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data), "utf-8")
