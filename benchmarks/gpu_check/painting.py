"""Paint with an engine, compare with what the CPU painted, and print JSON.

    python -m benchmarks.gpu_check.painting ENGINE REFERENCE.npz

Codes come from the engine's own loop (captured, on a GPU). Logits come from single steps after the
CPU's codes. `verdict.py` explains the figures. The exit code is 6 if a verdict is neither `equal` nor
`rounding`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.reference import Reference
from benchmarks.gpu_check.steps import forced, influence, painted
from benchmarks.gpu_check.verdict import GOOD, ORDER, judge
from janus_edge.engine import Engine
from janus_edge.errors import JanusEdgeError
from janus_edge.runtime.pipeline import Janus
from janus_edge.runtime.session import open_backend

#: must equal ParityError.exit_code
_DISAGREES = 6


def compare(engine: Engine, reference: Reference) -> dict[str, Any]:
    """Compare all pictures of ``reference``; return them and the worst verdict."""
    pictures = []
    with Janus(engine, open_backend(engine)) as janus:
        found = influence(janus, reference.prompts[0])
        seen = found / reference.influence if reference.influence else 1.0
        for seed, prompt in enumerate(reference.prompts):
            codes, logits = reference.codes[seed], reference.logits[seed]
            steps = forced(janus, prompt, seed, codes)
            pictures.append(judge(seed, (codes, logits), steps, painted(janus, prompt, seed), seen))
    return {
        "verdict": max((p.verdict for p in pictures), key=ORDER.index),
        "pictures": len(pictures),
        "equal_pictures": sum(p.equal_codes == p.codes for p in pictures),
        "last_position_seen": seen,
        "same_bundle": engine.manifest.bundle.digest == reference.digest,
        "each": [asdict(p) for p in pictures],
    }


def main(arguments: Sequence[str]) -> int:
    """Compare one engine and return the exit code."""
    engine, file = map(Path, arguments)
    try:
        found = compare(Engine.open(engine), Reference.load(file))
    except JanusEdgeError as wrong:
        print(f"janus-edge: error: {wrong}", file=sys.stderr)
        return wrong.exit_code
    print(json.dumps(found))
    return 0 if found["verdict"] in GOOD else _DISAGREES


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
