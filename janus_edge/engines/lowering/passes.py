"""What a lowering pass is, and running several in order.

A pass changes an ``onnx_ir.Model`` in place. Weights stay where they are: a pass that joins or
re-arranges them leaves an ``onnx_ir.LazyTensor``, computed only when the model is written, so that
lowering a 7B model needs the memory of its widest matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from janus_edge.errors import LoweringError

#: Smaller initializers stay in the graph's own file, as in a bundle.
_EXTERNAL_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many places a pass rewrote, and why it left others that looked alike ('node: reason')."""

    changed: int
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pass:
    """A named rewrite; with ``expected`` it is an error when it finds nothing to change."""

    name: str
    rewrite: Callable[[ir.Model], Outcome]
    expected: bool = True


def lower(model: ir.Model, passes: Sequence[Pass]) -> dict[str, Outcome]:
    """Run ``passes`` in order on ``model`` in place, and remove what nothing needs any more.

    Returns each pass' outcome by name. Raises LoweringError when an expected pass changes nothing,
    with the pass' reasons.
    """
    outcomes = {}
    for step in passes:
        outcome = step.rewrite(model)
        if step.expected and not outcome.changed:
            reasons = "; ".join(outcome.left) or "nothing in the graph looks like it"
            raise LoweringError(
                f"{model.graph.name}: lowering pass '{step.name}' changed nothing ({reasons}); "
                "the graph was not exported by this version of janus-edge: export the bundle again"
            )
        outcomes[step.name] = outcome
        RemoveUnusedNodesPass()(model)
    model.graph.sort()
    RemoveUnusedOpsetsPass()(model)
    return outcomes


def load(path: Path) -> ir.Model:
    """A graph whose weights stay on disk until they are read."""
    return ir.load(path)


def save(model: ir.Model, path: Path) -> None:
    """Write ``path`` and, beside it, its weights, one after the other."""
    ir.save(
        model,
        path,
        external_data=path.with_suffix(".weights").name,
        size_threshold_bytes=_EXTERNAL_BYTES,
    )
