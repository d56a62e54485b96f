"""A cache of integers inside GroupQueryAttention: its scales, its exactness, and what is left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from janus_edge.compare import difference
from janus_edge.engines.lowering import joined_projections
from janus_edge.engines.lowering.cache_write import float_scale
from janus_edge.engines.lowering.group_query_attention import rewrite
from janus_edge.engines.lowering.passes import load
from janus_edge.runtime.session import OrtSession
from tests.unit.engines.lowering.small_graphs import lowered, ops, parse
from tests.unit.engines.lowering.test_group_query_attention import LAYER, branches

#: The layer with integers in its cache, as ``calib/cache_quantizer.py`` writes it.
INT8 = (
    LAYER.replace("float[B,2,C,16]", "int8[B,2,C,16]")
    .replace(
        "int64[1] axis = {1}",
        "float[1,2,1,16] k_scale, float[1,2,1,16] v_scale, float unit = {1.0}, int8 nil = {0}, "
        "int64[1] axis = {1}",
    )
    .replace(
        "    present_key = TensorScatter <axis = 2> (past_key, kr, past_lengths)\n"
        "    present_value = TensorScatter <axis = 2> (past_value, vt, past_lengths)\n",
        """    kd = Div (kr, k_scale)
    kq = QuantizeLinear (kd, unit, nil)
    vd = Div (vt, v_scale)
    vq = QuantizeLinear (vd, unit, nil)
    present_key = TensorScatter <axis = 2> (past_key, kq, past_lengths)
    present_value = TensorScatter <axis = 2> (past_value, vq, past_lengths)
    kc = DequantizeLinear (present_key, unit, nil)
    vc = DequantizeLinear (present_value, unit, nil)
    keys = Mul (kc, k_scale)
    values = Mul (vc, v_scale)
""",
    )
    .replace("(qr, present_key, present_value,", "(qr, keys, values,")
)


def test_what_becomes_of_it(tmp_path: Path) -> None:
    """The operator gets the scales, and the standard nodes stand in the other branch."""
    model, _, outcome = lowered(parse(INT8, tmp_path / "layer.onnx"), rewrite)
    assert (outcome.changed, outcome.left) == (1, ())
    assert not {"QuantizeLinear", "DequantizeLinear", "Div"} & set(ops(model.graph))
    fused, standard = branches(model)
    (node,) = fused
    assert {name: a.value for name, a in node.attributes.items()} == {
        "num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "k_quant_type": "PER_CHANNEL",
        "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8,
    }  # fmt: skip
    names = [value.name if value else None for value in node.inputs]
    assert names[3:5] == ["past_key", "past_value"]
    assert names[7:] == ["cos", "sin", None, None, None, "k_scale", "v_scale"]
    assert [ops(standard).count(op) for op in ("QuantizeLinear", "DequantizeLinear")] == [2, 2]
    assert [str(o.dtype) for o in fused.outputs] == ["FLOAT", "INT8", "INT8"]


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("new", [1, 4])
@pytest.mark.parametrize("started", [False, True])
def test_it_computes_the_same(
    tmp_path: Path, *, joined: bool, rows: int, new: int, started: bool
) -> None:
    """In every combination of rows, new tokens and pasts, in one buffer: the old integers stay, new
    ones are those of the standard nodes (to one step where a value lies between two)."""
    source = parse(INT8, tmp_path / "layer.onnx")
    before = (joined_projections.rewrite,) if joined else ()
    _, path, _ = lowered(source, *before, rewrite)
    past = np.array([7, 0, 3][:rows]) * started
    standard, fused = driven(source, past, new), driven(path, past, new)
    assert difference(fused["y"], standard["y"], "float32")
    for name in ("key", "value"):
        steps = np.abs(fused[name].astype(int) - standard[name])
        assert steps.max() <= 1
        assert (steps > 0).mean() < 0.001
        for row, length in enumerate(past):
            untouched = np.r_[0:length, length + new : 12]
            np.testing.assert_array_equal(
                fused[name][row][:, untouched], rubbish(rows)[row][:, untouched]
            )
            assert (fused[name][row] != rubbish(rows)[row]).any()


def rubbish(rows: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    """What the cache holds before."""
    return np.random.default_rng(2).integers(-127, 128, (rows, 2, 12, 16), np.int8)


def driven(path: Path, past: np.ndarray[Any, Any], new: int) -> dict[str, np.ndarray[Any, Any]]:
    rows = len(past)
    key, value, y = rubbish(rows), rubbish(rows), np.zeros((rows, new, 64), np.float32)
    x = np.random.default_rng(1).normal(size=(rows, new, 64)).astype(np.float32)
    feeds = {"x": x, "past_lengths": past, "past_key": key, "past_value": value}
    session = OrtSession(path, threads=1, quantised=True)
    session.bind(feeds, {"y": y, "present_key": key, "present_value": value})()
    return {"y": y, "key": key, "value": value}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("kd = Div (kr, k_scale)", "kd = Div (kr, v_scale)",
         "the cache is written with another scale than it is read with"),
        ("Div (kr, k_scale)", "Mul (kr, k_scale)", "'kd' comes from Mul, not from Div"),
        ("QuantizeLinear (kd, unit, nil)", "QuantizeLinear <saturate = 0> (kd, unit, nil)",
         "QuantizeLinear has the attribute saturate = 0"),
        ("int8 nil = {0}", "int8 nil = {1}", "the zero point of DequantizeLinear is not int8 0"),
        ("float unit = {1.0}", "float unit = {2.0}", "the scale of DequantizeLinear is not 1"),
        ("float[1,2,1,16] k_scale", "float[1,1,1,16] k_scale",
         r"'k_scale' is not a constant \[1, 2, 1, 16\]"),
    ],
)  # fmt: skip
def test_what_is_left(tmp_path: Path, before: str, after: str, reason: str) -> None:
    """Integers of another kind stay, and the reason says what differs."""
    assert before in INT8
    outcome = rewrite(load(parse(INT8.replace(before, after), tmp_path / "layer.onnx")))
    assert outcome.changed == 0
    (why,) = outcome.left
    assert re.match(f"attention: {reason}", why)


def test_half_a_cache_of_integers(tmp_path: Path) -> None:
    """The operator keeps both in one type, so keys alone are left."""
    text = INT8
    for before, after in (
        ("int8[B,2,C,16] past_value", "float[B,2,C,16] past_value"),
        ("int8[B,2,C,16] present_value", "float[B,2,C,16] present_value"),
        ("(past_value, vq,", "(past_value, vt,"),
        ("    vc = DequantizeLinear (present_value, unit, nil)\n", ""),
        ("    values = Mul (vc, v_scale)\n", ""),
        ("keys, values,", "keys, present_value,"),
    ):
        assert before in text
        text = text.replace(before, after)
    outcome = rewrite(load(parse(text, tmp_path / "layer.onnx")))
    assert outcome.left == ("attention: only keys or only values are quantised",)


def test_scales_are_float32() -> None:
    """The operator's type for them, whatever the graph's is; float32 ones are taken as they are."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 24})
    for dtype, name in ((np.float32, "s"), (np.float16, "h")):
        values = np.array([0.5, 0.25], dtype)
        scale = ir.Value(name=name, const_value=ir.tensor(values, name=name))
        graph.register_initializer(scale)
        found = float_scale(graph, scale)
        assert found.const_value is not None
        assert found.const_value.numpy().dtype == np.float32
        np.testing.assert_array_equal(found.const_value.numpy(), values)
        assert (found is scale) == (dtype is np.float32)
