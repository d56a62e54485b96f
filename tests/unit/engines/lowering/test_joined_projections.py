"""MatMuls of one input as one: in every form that weights are stored in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from janus_edge.bundle import Bundle
from janus_edge.calib.bundle_quantizer import quantise_bundle
from janus_edge.compare import difference
from janus_edge.engines.lowering import group_query_attention, skip_norm
from janus_edge.engines.lowering.joined_projections import rewrite
from janus_edge.engines.lowering.passes import load
from janus_edge.graphs import Graph
from janus_edge.recipe import Recipe, Rule, Scheme
from tests.unit.engines.lowering.small_graphs import drive, lowered, ops, parse, run

#: Odd, so that rows of packed int4 do not begin at whole bytes.
WIDTHS = (5, 3, 7)

#: How a weight [32, N] is declared and dequantised, per form; {i} is its number and {n} its width.
FORMS = {
    "float": ("float[32,{n}] w{i}", ""),
    "per channel": (
        "int8[32,{n}] q{i}, float[{n}] q{i}_scale, int8[{n}] q{i}_zero",
        "w{i} = DequantizeLinear <axis = 1> (q{i}, q{i}_scale, q{i}_zero)",
    ),
    "int8 blocks": (
        "int8[32,{n}] q{i}, float[2,{n}] q{i}_scale, int8[2,{n}] q{i}_zero",
        "w{i} = DequantizeLinear <axis = 0, block_size = 16> (q{i}, q{i}_scale, q{i}_zero)",
    ),
    "int4 blocks": (
        "int4[32,{n}] q{i}, float[2,{n}] q{i}_scale",
        "w{i} = DequantizeLinear <axis = 0, block_size = 16> (q{i}, q{i}_scale)",
    ),
}

#: A Q/DQ pair of its own before product {i}.
PAIR = """
    xq{i} = QuantizeLinear (x, x_scale, zero)
    x{i} = DequantizeLinear (xq{i}, x_scale, zero)
"""


def projections(form: str, pair: str = "", last: str = "") -> str:
    """A graph of three products of x; of another form of the last one, if given."""
    forms = [FORMS[form], FORMS[form], FORMS[last or form]]
    numbered = [[text.format(i=i, n=n) for text in (*forms[i], pair)] for i, n in enumerate(WIDTHS)]
    read = "x{}" if pair else "x"
    nodes = [
        f"{dequantise}\n{quantise}\n[p{i}] y{i} = MatMul ({read.format(i)}, w{i})"
        for i, (_, dequantise, quantise) in enumerate(numbered)
    ]
    outputs = ", ".join(f"float[N,{n}] y{i}" for i, n in enumerate(WIDTHS))
    declared = ", ".join(weight for weight, _, _ in numbered)
    extra = "float x_scale = {0.02}, int8 zero = {0}"
    body = "\n".join(nodes)
    return f"projections (float[N,32] x) => ({outputs})\n<{declared}, {extra}>\n{{\n{body}\n}}\n"


def check_same(source: Path, path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(9, 32)).astype(np.float32)
    shapes = {f"y{i}": (9, n) for i, n in enumerate(WIDTHS)}
    expected, found = run(source, {"x": rows}, shapes), run(path, {"x": rows}, shapes)
    for name in shapes:
        assert difference(found[name], expected[name], "float32")


@pytest.mark.parametrize("form", FORMS)
def test_one_product(tmp_path: Path, form: str) -> None:
    """Three products become one and a Split, of weights side by side in the type they had."""
    source = parse(projections(form), tmp_path / "p.onnx")
    model, path, outcome = lowered(source, rewrite)
    assert (outcome.changed, outcome.left) == (1, ())
    quantised = [] if form == "float" else ["DequantizeLinear"]
    assert ops(model.graph) == [*quantised, "MatMul", "Split"]
    before, after = load(source).graph.initializers, model.graph.initializers
    joined = after["p0.joined.weight"].const_value
    stem = "w" if form == "float" else "q"
    parts = [before[f"{stem}{i}"].const_value for i in range(3)]
    assert joined.dtype == parts[0].dtype
    np.testing.assert_array_equal(joined.numpy(), np.concatenate([p.numpy() for p in parts], 1))
    assert after["p0.joined.widths"].const_value.numpy().tolist() == list(WIDTHS)
    check_same(source, path)


def test_inputs_quantised_alike(tmp_path: Path) -> None:
    """Of Q/DQ pairs with equal scales one remains."""
    source = parse(projections("per channel", PAIR), tmp_path / "p.onnx")
    model, path, outcome = lowered(source, rewrite)
    assert (outcome.changed, outcome.left) == (1, ())
    assert sorted(ops(model.graph)) == [
        "DequantizeLinear", "DequantizeLinear", "MatMul", "QuantizeLinear", "Split",
    ]  # fmt: skip
    check_same(source, path)


def test_inputs_quantised_differently_are_left(tmp_path: Path) -> None:
    text = projections("per channel", PAIR).replace("(xq1, x_scale", "(xq1, other")
    text = text.replace("xq1 = QuantizeLinear (x, x_scale", "xq1 = QuantizeLinear (x, other")
    text = text.replace("float x_scale", "float other = {0.03}, float x_scale")
    source = parse(text, tmp_path / "p.onnx")
    model, path, outcome = lowered(source, rewrite)
    assert (outcome.changed, outcome.left) == (1, ("p1: other input quantisation than p0",))
    assert ops(model.graph).count("MatMul") == 2
    check_same(source, path)


@pytest.mark.parametrize(
    ("form", "last", "differing"),
    [
        ("float", "int4 blocks", "types"),
        ("int8 blocks", "per channel", "shapes but the last axis"),
        ("int8 blocks", "int4 blocks", "types"),
    ],
)
def test_other_forms_are_left(tmp_path: Path, form: str, last: str, differing: str) -> None:
    """What a recipe gave another form stays apart; the others are joined."""
    source = parse(projections(form, last=last), tmp_path / "p.onnx")
    model, path, outcome = lowered(source, rewrite)
    assert (outcome.changed, outcome.left) == (1, (f"p2: other {differing} than p0",))
    assert ops(model.graph).count("MatMul") == 2
    check_same(source, path)


@pytest.mark.parametrize(
    ("form", "before", "after", "reason"),
    [
        ("per channel", "float[5] q0_scale, int8[5]", "float q0_scale, int8",
         "'q0_scale' has no value per channel"),
        ("float", "[p1]", "y9 = Identity (w0) [p1]", "'w0' has other readers"),
        ("per channel", "w0 = DequantizeLinear <axis = 1> (q0, q0_scale",
         "s = Abs (q0_scale) w0 = DequantizeLinear <axis = 1> (q0, s", "'s' is not a constant"),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_joined(
    tmp_path: Path, form: str, before: str, after: str, reason: str
) -> None:
    """Such a weight is left with the reason, and the two others are joined."""
    text = projections(form)
    assert before in text
    source = parse(text.replace(before, after), tmp_path / "p.onnx")
    model = load(source)
    outcome = rewrite(model)
    assert (outcome.changed, outcome.left) == (1, (f"p0: {reason}",))


def test_nothing_to_join(tmp_path: Path) -> None:
    """Products of different inputs, and of weights that a caller may replace, are not spoken of."""
    text = """
    g (float[N,4] x, float[4,4] given) => (float[N,4] y, float[N,4] z)
    <float[4,4] w, float[4,4] u>
    { h = MatMul (x, w)  y = MatMul (h, u)  z = MatMul (x, given) }
    """
    outcome = rewrite(load(parse(text, tmp_path / "g.onnx")))
    assert (outcome.changed, outcome.left) == (0, ())


def test_weights_are_joined_when_they_are_written(tmp_path: Path) -> None:
    """The pass reads no weight: they are tensors that are computed when they are asked for."""
    source = parse(projections("int4 blocks"), tmp_path / "p.onnx")
    model = load(source)
    for value in model.graph.initializers.values():
        if value.name.startswith("q"):
            tensor = value.const_value

            def unread() -> ir.TensorProtocol:
                raise AssertionError("a weight was read")

            value.const_value = ir.LazyTensor(unread, tensor.dtype, tensor.shape)
    assert rewrite(model).changed == 1
    joined = model.graph.initializers["p0.joined.weight"].const_value
    assert joined.nbytes == 32 * sum(WIDTHS) // 2
    with pytest.raises(AssertionError, match="a weight was read"):
        joined.numpy()


def test_the_language_model(tiny_bundle: Path, tmp_path: Path) -> None:
    """Queries, keys and values, and gate and up, of every layer; within float32's 90 dB."""
    bundle = Bundle.open(tiny_bundle)
    config, source = bundle.manifest.config.language, bundle.graph(Graph.LANGUAGE_MODEL)
    model, path, outcome = lowered(source, rewrite, folder=tmp_path)
    assert (outcome.changed, outcome.left) == (2 * config.layers, ())
    assert ops(model.graph).count("MatMul") == 4 * config.layers
    drive(path, config, 2).check_like(drive(source, config, 2), 90)


@pytest.mark.parametrize("scheme", [Scheme("int8", 32), Scheme("int4", 32)], ids=["int8", "int4"])
def test_weight_only_language_models(tiny_bundle: Path, tmp_path: Path, scheme: Scheme) -> None:
    """All passes of the language model on blocked integers, one and two rows.

    40 dB: ONNX Runtime rounds the inputs of MatMulNBits to 8 bits, where a last place that another
    order of sums moves may become a whole step; joining alone moves nothing.
    """
    recipe = Recipe("weights", "float32", (Rule("language_model/*", scheme), Rule("*", None)))
    bundle, _ = quantise_bundle(Bundle.open(tiny_bundle), tmp_path / "q", recipe)
    config, source = bundle.manifest.config.language, bundle.graph(Graph.LANGUAGE_MODEL)
    _, joined, _ = lowered(source, rewrite)
    expected = drive(source, config, 2, quantised=True)
    drive(joined, config, 2, quantised=True).check_like(expected, 90)
    passes = (rewrite, group_query_attention.rewrite, skip_norm.rewrite)
    model, path, _ = lowered(source, *passes)
    assert "DequantizeLinear" in ops(model.graph)
    for rows in (1, 2):
        expected = drive(source, config, rows, quantised=True)
        drive(path, config, rows, quantised=True).check_like(expected, 40)
