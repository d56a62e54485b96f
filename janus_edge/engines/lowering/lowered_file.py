"""From a graph's file through lowering passes to another file, checked on both ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from janus_edge.engine_manifest import PassReport
from janus_edge.engines.lowering.passes import Pass, lower, save
from janus_edge.errors import LoweringError

#: How a lowering went, by the pass' name.
Passes = dict[str, PassReport]


def lower_graph(model: ir.Model, name: str, passes: Sequence[Pass]) -> Passes:
    """Run ``passes`` on the graph called ``name``, in place.

    Raises LoweringError as :func:`passes.lower`, and for passes that changed what the graph takes or
    gives.
    """
    ports = _ports(model)
    outcomes = lower(model, passes)
    if _ports(model) != ports:
        raise LoweringError(
            f"{name}: its inputs or outputs are others after {', '.join(outcomes)}; this is a mistake "
            "in a lowering pass: please report it"
        )
    return {name: PassReport(done.changed, done.left) for name, done in outcomes.items()}


def write_graph(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """Save and check a graph; its file, and its weights' if it has any.

    Raises LoweringError for a graph that is not valid.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, path)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as invalid:
        raise LoweringError(
            f"{path.name}: not a valid ONNX model after its lowering passes ({invalid}); this is a "
            "mistake in one of them: please report it"
        ) from invalid
    weights = path.with_suffix(".weights")
    return (path, weights) if weights.exists() else (path,)


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all constants of a graph."""
    constants = (value.const_value for value in model.graph.initializers.values())
    return sum(constant.nbytes for constant in constants if constant is not None)


def _ports(model: ir.Model) -> list[tuple[str | None, ...]]:
    """Name, type and shape of the inputs and outputs, as text."""
    values = [*model.graph.inputs, None, *model.graph.outputs]
    return [(v.name, str(v.type), str(v.shape)) if v else (None,) for v in values]
