"""Every exported file against the table of graphs: what any backend may rely on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import pytest

import janus_edge
from janus_edge.bundle import Bundle
from janus_edge.export.weights import EXTERNAL_BYTES
from janus_edge.graphs import OPSET, Graph, Port, signature

DTYPES = {"float": "FLOAT", "float32": "FLOAT", "int64": "INT64"}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


def load(bundle: Bundle, graph: Graph) -> onnx.ModelProto:
    return onnx.load(str(bundle.graph(graph)), load_external_data=False)


def described(value: onnx.ValueInfoProto) -> Port:
    """A graph's input or output as the table writes it."""
    tensor = value.type.tensor_type
    shape = tuple(
        dim.dim_param if dim.HasField("dim_param") else dim.dim_value for dim in tensor.shape.dim
    )
    return Port(value.name, onnx.TensorProto.DataType.Name(tensor.elem_type), shape)


@pytest.mark.parametrize("graph", Graph)
def test_ports(bundle: Bundle, graph: Graph) -> None:
    """Inputs and outputs are the table's: names in order, dtypes, and shapes with their symbols."""
    model, ports = load(bundle, graph), signature(graph, bundle.manifest.config)
    for values, wanted in ((model.graph.input, ports.inputs), (model.graph.output, ports.outputs)):
        found = [described(value) for value in values]
        assert [p.name for p in found] == [p.name for p in wanted]
        assert [p.dtype for p in found] == [DTYPES[p.dtype] for p in wanted]
        for port, table in zip(found, wanted, strict=True):
            assert len(port.shape) == len(table.shape)
            for dim, meant in zip(port.shape, table.shape, strict=True):
                # twice a symbol is written as an expression, whose spelling is the exporter's
                spelled = {"2P": {"2P", "2*P", "P*2"}}.get(str(meant), {meant})
                assert dim in spelled, f"{port.name}: {port.shape} for {table.shape}"


@pytest.mark.parametrize("graph", Graph)
def test_standard_onnx(bundle: Bundle, graph: Graph) -> None:
    """Opset 24 of the standard domain and nothing else, down into every subgraph."""
    model = load(bundle, graph)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert not model.functions

    def domains(nodes: Any) -> set[str]:
        found = {node.domain for node in nodes}
        inner = [a for node in nodes for a in node.attribute if a.HasField("g")]
        return found.union(*(domains(a.g.node) for a in inner)) if inner else found

    assert model.graph.node
    assert domains(model.graph.node) <= {"", "ai.onnx"}
    onnx.checker.check_model(str(bundle.graph(graph)), full_check=True)


@pytest.mark.parametrize("graph", Graph)
def test_nothing_of_the_machine(bundle: Bundle, graph: Graph, tmp_path: Path) -> None:
    """No path, stack trace or name of a source file is inside: equal checkpoints, equal files."""
    content = bundle.graph(graph).read_bytes()
    for trace in (b".py", b"site-packages", b"Traceback", b"stack_trace", b"pkg.torch", b'File "'):
        assert trace not in content, trace
    checkout = str(Path(janus_edge.__file__).parent).encode()
    home, temporary = str(Path.home()).encode(), str(tmp_path.parent).encode()
    assert checkout not in content
    assert home not in content
    assert temporary not in content
    assert not re.search(rb"/(home|Users|root|tmp|usr|opt)/", content)
    model = load(bundle, graph)
    assert not model.metadata_props
    assert not model.doc_string
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


@pytest.mark.parametrize("graph", Graph)
def test_weights_lie_beside(bundle: Bundle, graph: Graph) -> None:
    """Whatever is larger than 1 KiB is in the one listed weight file beside the graph."""
    model, entry = load(bundle, graph), bundle.manifest.graphs[graph.value]
    places = set()
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            places.update(e.value for e in tensor.external_data if e.key == "location")
        else:
            assert tensor.ByteSize() <= EXTERNAL_BYTES + 200, tensor.name
    constants = [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    assert all(tensor.ByteSize() <= EXTERNAL_BYTES + 200 for tensor in constants)
    assert [f"graphs/{place}" for place in places] == list(entry.weights)
    assert entry.file == f"graphs/{graph.value}.onnx"


@pytest.mark.parametrize("graph", Graph)
def test_names_of_nodes(bundle: Bundle, graph: Graph) -> None:
    """Every node has a name of its own, since precision recipes are rules over names."""
    names = [node.name for node in load(bundle, graph).graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_parity_of_every_graph(bundle: Bundle) -> None:
    """Every graph was compared with PyTorch at export, and passed."""
    assert set(bundle.manifest.parity) == {graph.value for graph in Graph}
    assert all(bundle.manifest.parity.values())
