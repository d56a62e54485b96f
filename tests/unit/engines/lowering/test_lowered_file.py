"""After its passes, a graph has the requested inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest

from janus_edge.engines.lowering.lowered_file import lower_graph
from janus_edge.engines.lowering.passes import Outcome, Pass
from janus_edge.errors import LoweringError
from janus_edge.graphs import Port
from tests.unit.engines.lowering.primitive_graphs import parsed

GRAPH = """
small (float16[B,4] x, int64[B] n) => (float16[B,4] y, int64[B] m)
{
    y = Neg (x)
    m = Abs (n)
}
"""
RENAMED = (Port("z", "float", ("B", 4)), Port("m", "int64", ("B",)))


def change(what: str) -> Pass:
    """Return a pass that changes the graph as ``what`` says."""

    def rename(graph: ir.Graph) -> None:
        graph.outputs[0].name = "z"

    def shape(graph: ir.Graph) -> None:
        graph.outputs[0].shape = ir.Shape(["B", 5])

    def dtype(graph: ir.Graph) -> None:
        graph.outputs[1].type = ir.TensorType(ir.DataType.INT32)

    def order(graph: ir.Graph) -> None:
        graph.outputs[0], graph.outputs[1] = graph.outputs[1], graph.outputs[0]

    def fewer(graph: ir.Graph) -> None:
        graph.outputs.pop()

    def given(graph: ir.Graph) -> None:
        graph.inputs[1].name = "k"

    changes: dict[str, Callable[[ir.Graph], None]] = {
        "rename": rename, "shape": shape, "dtype": dtype, "order": order, "fewer": fewer, "input": given,
    }  # fmt: skip

    def rewrite(model: ir.Model) -> Outcome:
        for word in what.split():
            changes[word](model.graph)
        return Outcome(1)

    return Pass("given", rewrite)


@pytest.mark.parametrize("what", ["rename", "shape", "dtype", "order", "fewer", "input"])
def test_ports_stay(what: str) -> None:
    """A pass that changes an input or output raises an error unless the change was requested."""
    with pytest.raises(LoweringError, match="small: its inputs or outputs are wrong after given"):
        lower_graph(parsed(GRAPH), "small", [change(what)])


def test_outputs_become_what_was_asked_for() -> None:
    """Outputs become the requested ones; ``float`` is the graph's own float type."""
    assert lower_graph(parsed(GRAPH), "small", [change("rename")], RENAMED)["given"].changed == 1


@pytest.mark.parametrize(
    "what", ["", "rename shape", "rename dtype", "rename order", "rename fewer", "rename input"]
)
def test_and_nothing_else(what: str) -> None:
    """Outputs that should change and do not are an error, and so are changed inputs."""
    with pytest.raises(LoweringError, match="small: its inputs or outputs are wrong after given"):
        lower_graph(parsed(GRAPH), "small", [change(what)], RENAMED)
