"""Running a graph layer by layer, and widening bfloat16, against the whole graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
from onnx import TensorProto

from janus_edge.config import JanusConfig
from janus_edge.export import pieces
from janus_edge.export.pieces import run_in_pieces
from janus_edge.export.synthetic import DIMENSIONS
from janus_edge.export.widen import widen
from janus_edge.graphs import cache_names

TINY: JanusConfig = DIMENSIONS["tiny"]
LM = TINY.language
FEED = dict(zip(cache_names("present", LM.layers), cache_names("past", LM.layers), strict=True))


def whole_session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def language_calls() -> list[dict[str, np.ndarray]]:
    """Three calls on one cache: rows of unequal length, then a chunk, then one token."""
    generator = np.random.default_rng(0)
    cache = np.zeros((2, LM.kv_heads, 20, LM.head_dim), np.float32)
    calls = []
    for lengths, new in (((0, 0), 7), ((7, 4), 3), ((10, 7), 1)):
        embeds = generator.normal(size=(2, new, LM.hidden_size)).astype(np.float32)
        calls.append(
            {
                "inputs_embeds": embeds,
                "past_lengths": np.array(lengths),
                **dict.fromkeys(FEED.values(), cache),
            }
        )
    return calls


def test_language_model_in_pieces(tiny_bundle: Path) -> None:
    """Every output of every call equals that of one session of the whole graph whose cache is fed
    on, and the given inputs are not written to."""
    path, calls = tiny_bundle / "graphs" / "language_model.onnx", language_calls()
    found = run_in_pieces(path, calls, feed=FEED)
    assert not any(calls[0][name].any() for name in FEED.values())
    session, cache = whole_session(path), {}
    names = [output.name for output in session.get_outputs()]
    for result, call in zip(found, calls, strict=True):
        expected = dict(zip(names, session.run(names, {**call, **cache}), strict=True))
        assert list(result) == names
        for name in names:
            np.testing.assert_allclose(result[name], expected[name], rtol=1e-5, atol=1e-5)
        cache = {past: expected[present] for present, past in FEED.items()}
    assert found[2]["lengths"].tolist() == [11, 8]
    unfed = run_in_pieces(path, calls, feed={})
    assert np.abs(unfed[2]["hidden_states"] - found[2]["hidden_states"]).max() > 0.01


def test_vision_encoder_in_pieces(tiny_bundle: Path) -> None:
    """Several calls, of one and of two pictures, equal one session of the whole graph."""
    path, generator = tiny_bundle / "graphs" / "vision_encoder.onnx", np.random.default_rng(0)
    calls = [
        {"pixel_values": generator.uniform(-1, 1, (n, 3, 32, 32)).astype(np.float32)}
        for n in (1, 2)
    ]
    session = whole_session(path)
    for result, call in zip(run_in_pieces(path, calls, feed={}), calls, strict=True):
        (expected,) = session.run(["image_embeds"], call)
        np.testing.assert_allclose(result["image_embeds"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("graph", "layers"),
    [("language_model", LM.layers), ("vision_encoder", TINY.vision.layers), ("image_head", 0)],
)
def test_a_piece_holds_one_layer(tiny_bundle: Path, graph: str, layers: int) -> None:
    """A graph falls into what precedes its layers, each layer, and what follows; no weight of one
    layer is in another's piece, and all nodes are in one piece each, in order."""
    model = onnx.load(str(tiny_bundle / "graphs" / f"{graph}.onnx"), load_external_data=False)
    made = list(pieces._pieces(model))
    assert [node.name for piece in made for node in piece.graph.node] == [
        node.name for node in model.graph.node
    ]
    seen = [
        {int(i.name.split("layers.")[1].split(".")[0]) for i in piece.graph.initializer
         if "layers." in i.name and "aligner" not in i.name}
        for piece in made
    ]  # fmt: skip
    assert [numbers for numbers in seen if numbers] == [{n} for n in range(layers)]
    assert len(made) in ((layers + 1, layers + 2) if layers else (1,))


ADD = """
<ir_version: 11, opset_import: ["" : 24]>
add (bfloat16[65536] x) => (bfloat16[65536] y)
<bfloat16[65536] inline, bfloat16[65536] outside>
{ a = Add(x, inline) b = Add(a, outside) c = Cast<to = 1>(b) y = Cast<to = 16>(c) }
"""


def bfloat16_model(folder: Path) -> onnx.ModelProto:
    """A graph with all bfloat16 values, once in the file itself and once in external data."""
    bits = np.arange(65536, dtype="<u2")
    model = onnx.parser.parse_model(
        ADD.replace("<bfloat16[65536] inline, bfloat16[65536] outside>", "")
    )
    inline = TensorProto(name="inline", data_type=TensorProto.BFLOAT16, dims=[65536])
    inline.raw_data = bits.tobytes()
    outside = TensorProto(name="outside", data_type=TensorProto.BFLOAT16, dims=[65536])
    outside.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.weights"), ("offset", 6), ("length", 2 * 65536)):
        outside.external_data.add(key=key, value=str(value))
    (folder / "w.weights").write_bytes(b"before" + bits[::-1].tobytes() + b"behind")
    model.graph.initializer.extend([inline, outside])
    return model


@pytest.mark.parametrize("piece", [1 << 24, 1000])
def test_widening_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """Each of the 65536 bfloat16 values becomes the float32 with the same upper half and zeros
    below, in the graph and in external data, read in pieces or at once."""
    monkeypatch.setattr("janus_edge.export.widen._PIECE", piece)
    bits = np.arange(65536, dtype=np.uint32) << 16
    model = bfloat16_model(tmp_path)
    before = model.SerializeToString()
    with widen(model, tmp_path) as wide:
        inline, outside = wide.graph.initializer
        assert inline.data_type == outside.data_type == TensorProto.FLOAT
        np.testing.assert_array_equal(np.frombuffer(inline.raw_data, "<u4"), bits)
        where = {entry.key: entry.value for entry in outside.external_data}
        data = (tmp_path / where["location"]).read_bytes()[int(where["offset"]) :]
        assert int(where["length"]) == 4 * 65536
        np.testing.assert_array_equal(np.frombuffer(data[: 4 * 65536], "<u4"), bits[::-1])
        types = {v.type.tensor_type.elem_type for v in (*wide.graph.input, *wide.graph.output)}
        assert types == {TensorProto.FLOAT}
    assert model.SerializeToString() == before
    assert [file.name for file in tmp_path.iterdir()] == ["w.weights"]


def test_a_widened_graph_computes_in_float32(tmp_path: Path) -> None:
    """A bfloat16 graph runs on the CPU as if it were float32: nothing is rounded on the way."""
    path = tmp_path / "add.onnx"
    onnx.save(bfloat16_model(tmp_path), str(path))
    x = np.full(65536, 1 + 2**-20, np.float32)  # no bfloat16 has this value
    (result,) = run_in_pieces(path, [{"x": x}], feed={})
    inline = (np.arange(65536, dtype=np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(result["y"], (x + inline) + inline[::-1])
    assert result["y"].dtype == np.float32


def test_what_has_no_bfloat16_is_left_alone(tiny_bundle: Path) -> None:
    """A float32 graph is handed through, the very object."""
    path = tiny_bundle / "graphs" / "image_embedding.onnx"
    model = onnx.load(str(path), load_external_data=False)
    with widen(model, path.parent) as same:
        assert same is model
