"""Bytes of weights, against the dimensions of a model and against the onnx package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from janus_edge.bench.protobuf import fields, varints
from janus_edge.bench.weight_bytes import WeightBytes, read_weight_bytes, weight_bytes
from janus_edge.bundle import Bundle
from janus_edge.errors import BundleError
from janus_edge.graphs import Graph


def tensor(name: str, kind: int, shape: tuple[int, ...]) -> onnx.TensorProto:
    return helper.make_tensor(name, kind, shape, [1] * int(np.prod(shape)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """4-bit weights behind a DequantizeLinear, a table, a weight inside a branch, an unused one."""
    branch = helper.make_graph(
        [helper.make_node("Add", ["outer", "inner"], ["sum"])],
        "branch",
        [],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT16, [2])],
        [tensor("inner", TensorProto.FLOAT16, (2,))],
    )
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["d"]),
        helper.make_node("Gather", ["table", "index"], ["row"]),
        helper.make_node("Gather", ["both", "index"], ["other"]),
        helper.make_node("Identity", ["both"], ["copy"]),
        helper.make_node("If", ["c"], ["out"], then_branch=branch, else_branch=branch),
    ]
    weights = [
        tensor("w", TensorProto.INT4, (3, 5)),
        tensor("scale", TensorProto.FLOAT, ()),
        tensor("table", TensorProto.FLOAT, (100, 7)),
        tensor("both", TensorProto.FLOAT, (10, 2)),
        tensor("outer", TensorProto.FLOAT16, (2,)),
        tensor("unused", TensorProto.DOUBLE, (50,)),
    ]
    inputs = [
        helper.make_tensor_value_info("index", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info("row", TensorProto.FLOAT, None)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, weights)), path)
    return path


def test_each_kind_of_weight(model: Path) -> None:
    """Half a byte for four bits, rounded up; rows of a table that is only gathered from; branches."""
    found = read_weight_bytes(model)
    assert found.row == 7 * 4
    assert found.whole == {"int4": 8, "float32": 4 + 10 * 2 * 4, "float16": 4 + 4}
    assert found.read(3) == 8 + 84 + 8 + 3 * 28


def test_language_model(tiny_bundle: Path) -> None:
    """The weights of a Llama, and one row of sines and cosines."""
    bundle = Bundle.open(tiny_bundle)
    lm = bundle.manifest.config.language
    found = weight_bytes(bundle, Graph.LANGUAGE_MODEL)
    attention = lm.hidden_size * lm.head_dim * (2 * lm.heads + 2 * lm.kv_heads)
    layer = attention + 3 * lm.hidden_size * lm.intermediate_size + 2 * lm.hidden_size
    floats = lm.layers * layer + lm.hidden_size
    # scalars of the norms and the like
    assert 4 * floats <= found.whole["float32"] <= 4 * floats + 64
    assert sum(found.whole.values()) - found.whole["float32"] < 256
    assert found.row == lm.head_dim * 4  # half a head of each


def test_heads_and_tables(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    config = bundle.manifest.config
    lm = config.language
    assert weight_bytes(bundle, Graph.TEXT_HEAD).whole == {
        "float32": 4 * lm.hidden_size * lm.vocab_size
    }
    table = weight_bytes(bundle, Graph.IMAGE_EMBEDDING)
    assert table.row == 4 * lm.hidden_size
    assert sum(table.whole.values()) < 64


@pytest.mark.parametrize("graph", Graph)
def test_the_onnx_package_finds_the_same(tiny_bundle: Path, graph: Graph) -> None:
    """All that is stored, tables included, is counted once; canonical graphs hold nothing else."""
    path = Bundle.open(tiny_bundle).graph(graph)
    stored = onnx.load(path, load_external_data=False).graph.initializer
    sizes = {
        t.name: int(np.prod(t.dims)) * helper.tensor_dtype_to_np_dtype(t.data_type).itemsize
        for t in stored
    }
    rows = {t.name: t.dims[0] for t in stored if t.dims}
    found = read_weight_bytes(path)
    if found.row:
        tables = [n for n in sizes if n not in whole_weights(path)]
        assert found.row == sum(sizes[n] // rows[n] for n in tables)
        assert sum(found.whole.values()) == sum(s for n, s in sizes.items() if n not in tables)
    else:
        assert sum(found.whole.values()) == sum(sizes.values())


def whole_weights(path: Path) -> set[str]:
    """Names of initialisers that a node reads as anything but a table."""
    names = set()
    for node in onnx.load(path, load_external_data=False).graph.node:
        for place, name in enumerate(node.input):
            table = (node.op_type, place) in (
                ("Gather", 0),
                *(("RotaryEmbedding", i) for i in (1, 2)),
            )
            if not table:
                names.add(name)
    return names


def test_what_is_no_onnx(copied_bundle: Path) -> None:
    """A file that is called so is named."""
    path = copied_bundle / "graphs" / "text_head.onnx"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(BundleError, match=r"text_head\.onnx: not ONNX \(has a number of more"):
        weight_bytes(Bundle.open(copied_bundle, verify=False), Graph.TEXT_HEAD)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"\x08", "ends within a number"),
        (b"\x0a\x05ab", "has 5 bytes and 2 are left"),
        (b"\x0b", "unknown wire type 3"),
    ],
)
def test_damaged_messages(message: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(fields(memoryview(message)))


def test_every_wire_type() -> None:
    """A varint of two bytes, eight bytes, text, four bytes; packed numbers."""
    message = b"\x08\x96\x01" + b"\x11" + b"8bytes.." + b"\x1a\x02hi" + b"\x25" + b"four"
    assert [(n, v if isinstance(v, int) else bytes(v)) for n, v in fields(memoryview(message))] == [
        (1, 150),
        (2, b"8bytes.."),
        (3, b"hi"),
        (4, b"four"),
    ]
    assert varints(memoryview(b"\x01\x96\x01\x00")) == [1, 150, 0]
    assert varints(7) == [7]


def test_rows() -> None:
    assert WeightBytes({"int8": 10, "float16": 4}, 3).read(5) == 29
