"""Graphs return to opset 20, or 21 for int4; what the older set cannot express is an error."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from janus_edge.engines.lowering.lower_opset import _SAME_MEANING, rewrite
from janus_edge.errors import LoweringError
from tests.unit.engines.lowering.primitive_graphs import parsed

PLAIN = """
plain (float[B,8] x) => (float[B,4] y)
<int8[8,4] w, float[4] s, int8[4] z, float[] t, int8[] u, int64[2] shape = {-1, 8}>
{
    w = Constant <value = int8[8,4] {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}> ()
    s = Constant <value = float[4] {0.1, 0.2, 0.3, 0.4}> ()
    z = Constant <value = int8[4] {0, 0, 0, 0}> ()
    t = Constant <value = float {0.5}> ()
    u = Constant <value = int8 {0}> ()
    r = Reshape (x, shape)
    [q] q = QuantizeLinear <axis = 1, block_size = 0, saturate = 1> (r, t, u)
    [d] d = DequantizeLinear <output_dtype = 0> (q, t, u)
    [w] wd = DequantizeLinear <axis = 1> (w, s, z)
    y = MatMul (d, wd)
}
"""
BLOCKED = """
blocked (float[B,64] x, int4[64,4] w, float[2,4] s) => (float[B,4] y)
{
    [w] d = DequantizeLinear <axis = 0, block_size = 32> (w, s)
    y = MatMul (x, d)
}
"""


def test_to_opset_20() -> None:
    """Attributes that hold their defaults go, the others stay; the result is valid ONNX."""
    model = parsed(PLAIN)
    outcome = rewrite(model)
    assert (outcome.changed, outcome.left) == (3, ())
    assert (model.opset_imports[""], model.ir_version) == (20, 9)
    kept = {n.name: set(n.attributes) for n in model.graph if n.name in ("q", "d", "w")}
    assert kept == {"q": {"axis", "saturate"}, "d": set(), "w": {"axis"}}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    again = rewrite(model)
    assert (again.changed, again.left) == (0, ("opset 20 is not above 20",))


@pytest.mark.parametrize("integers", ["int4", "int8"])
def test_blocks_stay_in_opset_21(integers: str) -> None:
    model = parsed(BLOCKED.replace("int4", integers))
    assert rewrite(model).changed == 1
    assert (model.opset_imports[""], model.ir_version) == (21, 10)
    assert set(model.graph[0].attributes) == {"axis", "block_size"}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize(
    ("text", "dtype", "reason"),
    [
        ("g (float[N,4,S] x, float[4] a) => (float[N,4,S] y) { [n] y = GroupNormalization <num_groups = 2> (x, a, a) }", "float", "there is no GroupNormalization in it"),
        ("g (float[N,4] x, float[4] a) => (float[N,4] y) { [n] y = RMSNormalization (x, a) }", "float", "there is no RMSNormalization in it"),
        ("g (float[N,4,S] x, float[2,4,1] w) => (float[N,2,S] y) { [n] y = Conv (x, w) }", "bfloat16", "Conv takes no tensor(bfloat16) ('x')"),
        ("g (float[N,4] x, float s) => (float16[N,4] y) { q = QuantizeLinear <output_dtype = 3> (x, s) y = Cast <to = 10> (q) }", "float", "QuantizeLinear has output_dtype = 3"),
    ],
)  # fmt: skip
def test_what_it_cannot_express(text: str, dtype: str, reason: str) -> None:
    """Nothing is changed, and the error names the node, the reason and a remedy."""
    model = parsed(text, dtype)
    with pytest.raises(LoweringError) as error:
        rewrite(model)
    assert reason in str(error.value)
    assert "lower these nodes" in str(error.value)
    assert model.opset_imports[""] == 24


def test_versions_differ_as_the_table_says() -> None:
    """The versions of those operators have the same inputs and outputs, and no attribute went; the
    newer ones have attributes besides only in Q/DQ and Cast, where they are looked at."""
    for name in _SAME_MEANING:
        older, newer = (onnx.defs.get_schema(name, opset) for opset in (20, 24))
        assert older.since_version < newer.since_version, name
        assert not older.deprecated
        for side in ("inputs", "outputs"):
            names = [[p.name for p in getattr(s, side)] for s in (older, newer)]
            assert names[0] == names[1], name
        assert set(older.attributes) <= set(newer.attributes)
        if name not in ("Cast", "QuantizeLinear", "DequantizeLinear"):
            assert older.doc == newer.doc, name
            assert set(older.attributes) == set(newer.attributes), name
