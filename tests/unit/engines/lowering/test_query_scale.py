"""Attention's scale moves to the queries, or into their projection if that is exact."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from janus_edge.engines.lowering.passes import Outcome, Pass, lower
from janus_edge.engines.lowering.query_scale import rewrite
from tests.unit.engines.lowering.primitive_graphs import check_equal, parsed

PROJECTED = """
layer (float[B,S,32] x, float[B,2,T,HEAD] k, float[B,2,T,HEAD] v) => (float[B,2,S,HEAD] y)
<float[32,WIDTH] w, float[WIDTH] b, int64[4] heads = {0, 0, 2, HEAD}>
{
    p = MatMul (x, w)
    q = Add (p, b)
    q4 = Reshape (q, heads)
    qt = Transpose <perm = [0, 2, 1, 3]> (q4)
    [a] y = Attention (qt, k, v)
}
"""
PLAIN = """
layer (float[B,2,S,16] q, float[B,2,T,16] k, float[B,2,T,16] v) => (float[B,2,S,16] y)
{ [a] y = Attention <scale = 0.3> (q, k, v) }
"""
QUANTISED = """
layer (float[S,32] x, float[1,2,T,16] k, float[1,2,T,16] v) => (float[1,2,S,16] y)
<int8[32,32] w, float[32] w_scale, int8[32] w_zero, int64[4] heads = {1, -1, 2, 16}>
{
    d = DequantizeLinear <axis = 1> (w, w_scale, w_zero)
    q = MatMul (x, d)
    q4 = Reshape (q, heads)
    qt = Transpose <perm = [0, 2, 1, 3]> (q4)
    [a] y = Attention (qt, k, v)
}
"""


def projected(head: int) -> str:
    return PROJECTED.replace("HEAD", str(head)).replace("WIDTH", str(2 * head))


def scaled(text: str) -> tuple[ir.Model, Outcome]:
    model = parsed(text)
    outcome = lower(model, [Pass("query_scale", rewrite)])["query_scale"]
    (node,) = (n for n in model.graph if n.op_type == "Attention")
    assert node.attributes.get_float("scale") == 1.0
    return model, outcome


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_a_power_of_two_is_folded() -> None:
    """With heads of 16 channels the scale is 1/4: weights and bias take it, and no product is left."""
    model, outcome = scaled(projected(16))
    assert operators(model) == ["MatMul", "Add", "Reshape", "Transpose", "Attention"]
    assert outcome.left == ()


def test_another_scale_is_a_product() -> None:
    """With heads of 32 channels the scale is 32 ** -0.5: one product, with the queries, is left."""
    model, _ = scaled(projected(32))
    assert operators(model)[-2:] == ["Mul", "Attention"]


def test_an_integer_weight_keeps_its_values() -> None:
    """Only the scale of the dequantisation changes."""
    before, (model, outcome) = parsed(QUANTISED), scaled(QUANTISED)
    assert outcome.left == ()
    assert "w" in model.graph.initializers
    old, new = (
        m.graph.initializers[n].const_value
        for m, n in ((before, "w_scale"), (model, "w_scale.scaled"))
    )
    assert old is not None
    assert new is not None
    np.testing.assert_array_equal(new.numpy(), old.numpy() / 4)


def test_what_would_be_rounded_is_not_folded() -> None:
    """A float16 weight near the smallest number loses bits when it is divided by four."""
    model = parsed(PLAIN.replace("float[B,2,S,16] q", "float[B,S,32] x").replace(
        "{ [a]", "<float[32,32] w, int64[4] heads = {0, 0, 2, 16}>\n{ q0 = MatMul (x, w)\n"
        "q1 = Reshape (q0, heads)\nq = Transpose <perm = [0, 2, 1, 3]> (q1)\n[a]"
    ).replace("0.3", "0.25"), "float16")  # fmt: skip
    weight = model.graph.initializers["w"]
    values = np.full((32, 32), 0.5, np.float16)
    values[3, 4] = np.float16(2**-24)
    weight.const_value = ir.tensor(values, name="w")
    lower(model, [Pass("query_scale", rewrite)])
    assert operators(model)[-2:] == ["Mul", "Attention"]


def test_queries_that_others_read_are_not_folded() -> None:
    """Queries with another reader are not folded: it would read other values. Shape reads no values."""
    given = projected(16).replace("=> (", "=> (float[B,S,32] p, ")
    assert operators(scaled(given)[0])[-2:] == ["Mul", "Attention"]
    sizes = projected(16).replace("=> (", "=> (int64[4] s, ").replace("[a]", "s = Shape (qt)\n[a]")
    assert "Mul" not in operators(scaled(sizes)[0])


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize("text", [projected(16), projected(32), PLAIN], ids=["16", "32", "plain"])
def test_results_stay(text: str, dtype: str) -> None:
    """Folded and multiplied scales give the results of the attribute."""
    rng, head = np.random.default_rng(0), 32 if "0, 2, 32" in text else 16
    feeds = {"k": (2, 2, 7, head), "v": (2, 2, 7, head)}
    feeds |= {"q": (2, 2, 5, 16)} if text is PLAIN else {"x": (2, 5, 32)}
    check_equal(text, rewrite, dtype, {n: rng.normal(size=s) for n, s in feeds.items()})
