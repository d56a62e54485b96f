"""From a graph's file through lowering passes to another file, checked on both ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from janus_edge.engine_manifest import PassReport
from janus_edge.engines.lowering.passes import Pass, lower, save
from janus_edge.errors import LoweringError
from janus_edge.graphs import Port

#: How a lowering went, by the pass' name.
Passes = dict[str, PassReport]


def lower_graph(
    model: ir.Model, name: str, passes: Sequence[Pass], outputs: Sequence[Port] | None = None
) -> Passes:
    """Run ``passes`` on the graph called ``name``, in place.

    Its inputs must not change, nor its outputs unless ``outputs`` lists new ones (dtype ``float`` means the
    type of the graph's first output). Raises LoweringError like :func:`passes.lower`, and if the inputs
    or outputs are different.
    """
    graph = model.graph
    wanted = _ports(graph.inputs), _ports(graph.outputs)
    if outputs is not None:
        wanted = wanted[0], _stated(outputs, graph.outputs[0].dtype)
    outcomes = lower(model, passes)
    found = _ports(graph.inputs), _ports(graph.outputs)
    if found != wanted:
        wrong = sorted({*found[0], *found[1]} ^ {*wanted[0], *wanted[1]})
        raise LoweringError(
            f"{name}: its inputs or outputs are wrong after {', '.join(outcomes)} "
            f"({', '.join(wrong[:2]) or 'another order'}); this is a mistake in a lowering pass: please "
            "report it"
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


def _ports(values: Sequence[ir.Value]) -> list[str]:
    """Name, type and shape of inputs or outputs, as text."""
    return [f"{value.name} {value.type} {value.shape}" for value in values]


def _stated(ports: Sequence[Port], float_type: ir.DataType | None) -> list[str]:
    """Like :func:`_ports`, from the graph table."""
    found = []
    for port in ports:
        dtype = float_type if port.dtype == "float" else ir.DataType[port.dtype.upper()]
        kind = None if dtype is None else ir.TensorType(dtype)
        found.append(f"{port.name} {kind} {ir.Shape(port.shape)}")
    return found
