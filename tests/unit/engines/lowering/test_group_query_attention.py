"""GroupQueryAttention: what becomes one, what does not and why, and that it computes the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from janus_edge.bundle import Bundle
from janus_edge.compare import difference
from janus_edge.engines.lowering import joined_projections
from janus_edge.engines.lowering.group_query_attention import rewrite
from janus_edge.engines.lowering.passes import Pass, load, lower
from janus_edge.errors import BackendError, LoweringError
from janus_edge.graphs import Graph
from janus_edge.runtime.session import OrtSession
from tests.unit.engines.lowering.small_graphs import drive, lowered, named_node, ops, parse, run

#: One layer of two query heads per key head; names in capitals are exchanged by tests.
LAYER = """
layer (float[B,S,64] x, int64[B] past_lengths, float[B,2,C,16] past_key, float[B,2,C,16] past_value)
    => (float[B,S,64] y, int64[B] lengths, float[B,2,C,16] present_key, float[B,2,C,16] present_value)
<float[64,64] wq, float[64,32] wk, float[64,32] wv, float[32,8] cos, float[32,8] sin, int64 zero = {0},
 int64 one = {1}, int64[1] axis = {1}, int64[4] q_heads = {0, 0, 4, 16}, int64[4] kv_heads = {0, 0, 2, 16},
 int64[3] flat = {0, 0, 64}>
{
    size = Shape <start = 1, end = 2> (x)
    new = Squeeze (size)
    column = Unsqueeze (past_lengths, axis)
    steps = Range (zero, new, one)
    positions = Add (column, steps)
    lengths = Add (past_lengths, new)
    q = MatMul (x, wq)
    k = MatMul (x, wk)
    v = MatMul (x, wv)
    q4 = Reshape (q, q_heads)
    k4 = Reshape (k, kv_heads)
    v4 = Reshape (v, kv_heads)
    qt = Transpose <perm = [0, 2, 1, 3]> (q4)
    kt = Transpose <perm = [0, 2, 1, 3]> (k4)
    vt = Transpose <perm = [0, 2, 1, 3]> (v4)
    qr = RotaryEmbedding (qt, cos, sin, positions)
    kr = RotaryEmbedding (kt, cos, sin, positions)
    present_key = TensorScatter <axis = 2> (past_key, kr, past_lengths)
    present_value = TensorScatter <axis = 2> (past_value, vt, past_lengths)
    [attention] a = Attention <is_causal = 1> (qr, present_key, present_value, , , , lengths)
    at = Transpose <perm = [0, 2, 1, 3]> (a)
    y = Reshape (at, flat)
}
"""


def branches(model: ir.Model) -> tuple[ir.Graph, ir.Graph]:
    choice = named_node(model, "attention/If").attributes
    return choice["then_branch"].as_graph(), choice["else_branch"].as_graph()


def test_what_becomes_of_a_layer(tmp_path: Path) -> None:
    """One operator with the layer's heads, and for what it refuses the nodes that were there."""
    model, _, outcome = lowered(parse(LAYER, tmp_path / "layer.onnx"), rewrite)
    assert (outcome.changed, outcome.left) == (1, ())
    assert not {"RotaryEmbedding", "TensorScatter", "Attention"} & set(ops(model.graph))
    fused, standard = branches(model)
    (node,) = fused
    assert (node.domain, node.op_type) == ("com.microsoft", "GroupQueryAttention")
    assert {name: a.value for name, a in node.attributes.items()} == {
        "num_heads": 4, "kv_num_heads": 2, "do_rotary": 1,
    }  # fmt: skip
    names = [value.name if value else None for value in node.inputs]
    assert names[:5] == ["q", "k", "v", "past_key", "past_value"]
    assert names[7:] == ["cos", "sin"]
    assert sorted(ops(standard)) == sorted(
        [*["Reshape", "Transpose"] * 4, *["RotaryEmbedding", "TensorScatter"] * 2, "Attention"]
    )
    assert model.opset_imports["com.microsoft"] == 1


def test_joined_projections_go_in_packed(tmp_path: Path) -> None:
    """Behind joined projections the operator reads their product, and the Split is only for others."""
    source = parse(LAYER, tmp_path / "layer.onnx")
    model, _, _ = lowered(source, joined_projections.rewrite, rewrite)
    fused, standard = branches(model)
    (node,) = fused
    (product,) = [n for n in model.graph if n.op_type == "MatMul"]
    assert node.inputs[0] is product.outputs[0]
    assert node.inputs[1:3] == (None, None)
    assert "Split" not in ops(model.graph)
    assert ops(standard).count("Split") == 1


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("new", [1, 4])
@pytest.mark.parametrize("started", [False, True])
def test_a_layer_computes_the_same(
    tmp_path: Path, *, joined: bool, rows: int, new: int, started: bool
) -> None:
    """In every combination of rows, new tokens and pasts, with grouped heads and buffers apart."""
    source = parse(LAYER, tmp_path / "layer.onnx")
    before = (joined_projections.rewrite,) if joined else ()
    _, path, _ = lowered(source, *before, rewrite)
    rng = np.random.default_rng(1)
    past = np.array([7, 0, 3][:rows]) * started
    feeds = {
        "x": rng.normal(size=(rows, new, 64)).astype(np.float32),
        "past_lengths": past.astype(np.int64),
        "past_key": rng.normal(size=(rows, 2, 12, 16)).astype(np.float32),
        "past_value": rng.normal(size=(rows, 2, 12, 16)).astype(np.float32),
    }
    cache = (rows, 2, 12, 16)
    shapes = {"y": (rows, new, 64), "present_key": cache, "present_value": cache}
    expected, found = run(source, feeds, shapes), run(path, feeds, shapes)
    assert difference(found["y"], expected["y"], "float32")
    for name in ("present_key", "present_value"):
        for row, length in enumerate(past + new):
            assert difference(
                found[name][row, :, :length], expected[name][row, :, :length], "float32"
            )


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("<is_causal = 1> (qr", "<is_causal = 0> (qr", "it is not causal, or has no cache with lengths"),
        (", , , , lengths)", ")", "it is not causal, or has no cache with lengths"),
        ("<is_causal = 1> (qr", "<is_causal = 1, softcap = 3.0> (qr", "Attention has the attribute softcap = 3.0"),
        ("TensorScatter <axis = 2> (past_key", 'TensorScatter <axis = 2, mode = "circular"> (past_key',
         "TensorScatter has the attribute mode = circular"),
        ("RotaryEmbedding (qt", "RotaryEmbedding <interleaved = 1> (qt",
         "RotaryEmbedding has the attribute interleaved = 1"),
        ("RotaryEmbedding (kt, cos, sin", "RotaryEmbedding (kt, sin, cos", "queries and keys are rotated differently"),
        ("Range (zero, new, one)", "Range (one, new, one)", r"'positions' is not 'past_lengths' \+ arange"),
        ("lengths = Add (past_lengths, new)", "lengths = Mul (past_lengths, new)", "'lengths' comes from Mul, not from Add"),
        ("(past_value, vt,", "(past_value, kr,", "'kr' comes from RotaryEmbedding, not from Transpose"),
        ("y = Reshape (at, flat)", "yr = Reshape (at, flat) qf = Reshape (q4, flat) y = Add (yr, qf)",
         "'q4' is read elsewhere"),
    ],
)  # fmt: skip
def test_what_is_left(tmp_path: Path, before: str, after: str, reason: str) -> None:
    """What only looks alike stays, and the reason says what differs."""
    assert before in LAYER
    model = load(parse(LAYER.replace(before, after), tmp_path / "layer.onnx"))
    nodes = ops(model.graph)
    outcome = rewrite(model)
    assert outcome.changed == 0
    (why,) = outcome.left
    assert re.match(f"attention: {reason}", why)
    assert ops(model.graph) == nodes


def test_heads_that_the_kernel_refuses(tmp_path: Path) -> None:
    """Heads of 8 are left, with the size in the reason."""
    text = LAYER.replace("16}", "8}").replace("C,16]", "C,8]").replace("[32,8]", "[32,4]")
    text = text.replace("[B,S,64] y", "[B,S,32] y").replace("0, 64}", "0, 32}")
    text = text.replace("[64,64] wq", "[64,32] wq").replace("[64,32] wk", "[64,16] wk")
    text = text.replace("[64,32] wv", "[64,16] wv")
    outcome = rewrite(load(parse(text, tmp_path / "layer.onnx")))
    assert outcome.left == (
        "attention: heads of 8 are not a multiple of 16 that is rotated as a whole",
    )


def test_why_there_is_a_choice(tmp_path: Path) -> None:
    """The kernel itself refuses several tokens behind a past in two rows; once it takes them, the If
    can go."""
    text = """
    g (float[B,S,64] q, float[B,S,64] k, float[B,S,64] v, float[B,4,C,16] pk, float[B,4,C,16] pv,
       int32[B] seqlens, int32 total) => (float[B,S,64] y, float[B,4,C,16] nk, float[B,4,C,16] nv)
    <float[32,8] cos, float[32,8] sin>
    {
        y, nk, nv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 4, do_rotary = 1>
            (q, k, v, pk, pv, seqlens, total, cos, sin)
    }
    """
    session = OrtSession(parse(text, tmp_path / "g.onnx"), threads=1)
    tokens, cache = np.ones((2, 3, 64), np.float32), np.ones((2, 4, 8, 16), np.float32)
    feeds = {
        "q": tokens, "k": tokens, "v": tokens, "pk": cache, "pv": cache,
        "seqlens": np.array([4, 4], np.int32), "total": np.array(5, np.int32),
    }  # fmt: skip
    outputs = {"y": tokens.copy(), "nk": cache, "nv": cache}
    with pytest.raises(BackendError, match="batch_size must be 1 when sequence_length > 1"):
        session.bind(feeds, outputs)()


@pytest.mark.parametrize("joined", [False, True])
def test_the_language_model(tiny_bundle: Path, tmp_path: Path, *, joined: bool) -> None:
    """All layers (heads of 16); prompts, chunks and single tokens of 1, 2 and 4 rows in one buffer.

    90 dB as float32 has everywhere: the operator sums in another order. No value behind the rows is
    touched, so the cache is written in place and not copied.
    """
    bundle = Bundle.open(tiny_bundle)
    config, source = bundle.manifest.config.language, bundle.graph(Graph.LANGUAGE_MODEL)
    before = (joined_projections.rewrite,) if joined else ()
    model, path, outcome = lowered(source, *before, rewrite, folder=tmp_path)
    assert (outcome.changed, outcome.left) == (config.layers, ())
    assert ops(model.graph).count("ReduceMax") == 1
    for rows in (1, 2, 4):
        drive(path, config, rows).check_like(drive(source, config, rows), 90)


def test_other_graphs_are_left(tiny_bundle: Path) -> None:
    """The vision encoder's attention has no cache: an expected pass says so."""
    model = load(Bundle.open(tiny_bundle).graph(Graph.VISION_ENCODER))
    with pytest.raises(
        LoweringError, match=r"'attention' changed nothing .*not causal, or has no cache"
    ):
        lower(model, [Pass("attention", rewrite)])
