"""Check whether attention was built as one kernel: what the build recorded and what the plan holds.

    python -m benchmarks.gpu_check.attention ENGINE

Prints JSON. The engine inspector names kernels only in plans that were built with that detail. For
other plans it gives the names of layers, which say less.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from janus_edge.engine import Engine
from janus_edge.errors import JanusEdgeError
from janus_edge.graphs import Graph
from janus_edge.runtime.session import open_backend

FUSED, DECOMPOSED, UNKNOWN = "fused", "decomposed", "unknown"

#: Words in the names of kernels that compute the whole attention, and of kernels that compute a part.
_WHOLE = re.compile(r"mha|flash|attention|attn|sdpa", re.I)
_PART = re.compile(r"softmax", re.I)

#: Number of layer names that are kept; numbers inside the names are left out.
_MOST = 24


def recorded(manifest: Mapping[str, Any], graph: str = Graph.LANGUAGE_MODEL.value) -> str:
    """Return what the engine's manifest records of a graph's attention ('fused'), or that it records
    nothing."""
    return manifest["builds"][graph].get("attention") or f"{UNKNOWN}: the build recorded nothing"


def kind(names: Sequence[str]) -> str:
    """Classify attention by the names of layers and kernels; unknown if no name mentions it."""
    if any(_PART.search(name) for name in names):
        return DECOMPOSED
    return FUSED if any(_WHOLE.search(name) for name in names) else UNKNOWN


def layer_names(information: str) -> list[str]:
    """Return the names of layers and kernels in the inspector's JSON."""
    layers = json.loads(information).get("Layers", [])
    return [
        " ".join(str(layer[k]) for k in ("Name", "LayerType", "TacticName") if layer.get(k))
        if isinstance(layer, dict)
        else str(layer)
        for layer in layers
    ]


def inspect(engine: Engine) -> dict[str, Any]:
    """Return both accounts of the language model's attention: the build's and the inspector's."""
    manifest = json.loads((engine.path / "manifest.json").read_text("utf-8"))
    found: dict[str, Any] = {"recorded": recorded(manifest)}
    backend: Any = open_backend(engine)
    try:
        names, why = _inspected(backend, engine.graph(Graph.LANGUAGE_MODEL))
    finally:
        backend.close()
    counts = Counter(re.sub(r"\d+", "#", name)[:160] for name in names)
    speaking = [name for name in counts if _WHOLE.search(name) or _PART.search(name)]
    return found | {
        "inspector": why or kind(names),
        "layers": len(names),
        "of_attention": speaking[:_MOST],
        "most_frequent": dict(counts.most_common(_MOST)),
    }


def _inspected(backend: Any, plan: Path) -> tuple[list[str], str]:
    """Return names from the engine inspector, or the reason why there are none."""
    environment = backend.environment()
    trt = environment.tensorrt.module
    environment.device.make_current()
    opened = environment.runtime.deserialize_cuda_engine(plan.read_bytes())
    if opened is None:
        return [], f"{UNKNOWN}: the plan cannot be opened"
    if not hasattr(opened, "create_engine_inspector"):
        return [], f"{UNKNOWN}: {environment.tensorrt} has no engine inspector"
    inspector = opened.create_engine_inspector()
    names = layer_names(inspector.get_engine_information(trt.LayerInformationFormat.JSON) or "{}")
    return names, "" if names else f"{UNKNOWN}: the inspector names no layer"


def main(arguments: Sequence[str]) -> int:
    """Inspect one engine and return the exit code."""
    (path,) = map(Path, arguments)
    try:
        print(json.dumps(inspect(Engine.open(path))))
    except JanusEdgeError as wrong:
        print(f"janus-edge: error: {wrong}", file=sys.stderr)
        return wrong.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
