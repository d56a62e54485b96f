"""Rewritten graphs: their nodes, and what they compute, judged by ONNX Runtime without fusions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.operands import operands
from janus_edge.calib.quantizer import GraphQuantizer, GraphReport
from janus_edge.errors import InputError
from janus_edge.recipe import Recipe, Rule, Scheme
from tests.unit.calib.graphs import (
    ATTENTION,
    CONVOLUTION,
    MLP,
    Floats,
    calibrate,
    run,
    snr_db,
    write_graph,
)

W8A8 = Scheme("int8", inputs="maximum")
TYPES = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
SHAPES = {"mlp": (256, 96), "attention": (1, 256, 64), "convolution": (16, 8, 6, 6)}
TEXTS = {"mlp": MLP, "attention": ATTENTION, "convolution": CONVOLUTION}


def inputs(name: str, seed: int = 1) -> Floats:
    x = np.random.default_rng(seed).normal(size=SHAPES[name])
    return np.asarray(x, np.float32)


def quantise(
    source: Path, scheme: Scheme | None, calibration: Calibration | None = None, *more: Rule
) -> tuple[Path, GraphReport]:
    target = source.with_name("quantised.onnx")
    recipe = Recipe("r", "float32", (*more, Rule("*", scheme)))
    report = GraphQuantizer("g", source, recipe, calibration).write(target)
    onnx.checker.check_model(str(target), full_check=True)
    return target, report


@pytest.fixture(params=list(TEXTS))
def graph(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, write_graph(TEXTS[request.param], tmp_path / "g.onnx")


@pytest.mark.parametrize(("weights", "least"), [("int8", 36.0), ("int4", 11.0)])
@pytest.mark.parametrize("block", [32, 64, 128])
@pytest.mark.parametrize("symmetric", [True, False])
def test_blocked_weights(
    tmp_path: Path, weights: str, least: float, block: int, symmetric: bool
) -> None:
    """Weights alone: 8 bits leave about 40 dB, 4 bits fewer by 20 log10(127 / 7) = 25."""
    source, x = write_graph(MLP, tmp_path / "g.onnx"), inputs("mlp")
    target, report = quantise(source, Scheme(weights, block, symmetric))
    assert (report.quantised, report.nodes) == (3, 3)
    expected = run(source, x)
    assert snr_db(run(target, x), expected) > least
    model = onnx.load(str(target), load_external_data=False)
    kinds = {i.name: i.data_type for i in model.graph.initializer}
    assert kinds["down.quantized"] == getattr(TensorProto, weights.upper())
    assert ("down.zero_point" in kinds) is (weights == "int8" or not symmetric)
    node = next(n for n in model.graph.node if n.name == "gate/DequantizeLinear")
    found = {a.name: a.i for a in node.attribute}
    assert found == {"axis": 0, "block_size": min(block, 32)}  # 96 rows are three blocks of 32
    assert not {"gate", "up", "down"} & kinds.keys()


def test_int4_takes_half_a_byte(tmp_path: Path) -> None:
    """The file beside the graph holds packed integers and scales, and no float weights."""
    source = write_graph(MLP, tmp_path / "g.onnx")
    target, _ = quantise(source, Scheme("int4", 32))
    values = 2 * 96 * 128 + 128 * 64
    size = target.with_suffix(".weights").stat().st_size
    assert values // 2 + 4 * values // 32 <= size < values // 2 + 4 * values // 32 + 64 * 8


@pytest.mark.parametrize(("numbers", "least"), [("int8", 28), ("fp8", 23)])
def test_8_bit_inputs(graph: tuple[str, Path], numbers: str, least: float) -> None:
    """8-bit weights and inputs cost little on friendly data, and each node gets a Q/DQ pair."""
    name, source = graph
    x = inputs(name)
    scheme = Scheme(numbers, inputs="maximum")
    target, report = quantise(source, scheme, calibrate(source, x))
    assert report.quantised == report.nodes
    assert snr_db(run(target, x), run(source, x)) > least
    model = onnx.load(str(target), load_external_data=False)
    quantised = [n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert sorted(quantised) == sorted(o.input for o in operands(source))
    kinds = {i.name: i for i in model.graph.initializer}
    for tensor in quantised:
        assert kinds[f"{tensor}.scale"].data_type == TensorProto.FLOAT
        assert kinds[f"{tensor}.zero_point"].data_type == TYPES[numbers]
    weights = [i for i in model.graph.initializer if i.name.endswith(".quantized")]
    assert {i.data_type for i in weights} == {TYPES[numbers]}


@pytest.mark.parametrize(("numbers", "largest"), [("int8", 127), ("fp8", 448)])
def test_the_scale_of_an_input(tmp_path: Path, numbers: str, largest: float) -> None:
    """An input's scale is the calibration's max |x| over the largest number, whatever comes later."""
    source, x = write_graph(CONVOLUTION, tmp_path / "g.onnx"), inputs("convolution")
    target, _ = quantise(source, Scheme(numbers, inputs="maximum"), calibrate(source, x))
    model = onnx.load(str(target))
    scale = next(i for i in model.graph.initializer if i.name == "x.scale")
    assert onnx.numpy_helper.to_array(scale) == pytest.approx(np.abs(x).max() / largest)


def test_fp8_saturates_and_has_8_steps_to_an_octave(tmp_path: Path) -> None:
    """ONNX Runtime computes the graph by the definition of E4M3 alone: three bits of mantissa, no step
    below 2**-9, and nothing beyond 448, which is the calibrated maximum."""
    source, x = write_graph(CONVOLUTION, tmp_path / "g.onnx"), inputs("convolution")
    target, _ = quantise(source, Scheme("fp8", inputs="maximum"), calibrate(source, x))
    model = onnx.load(str(target))
    scale = np.float32(np.abs(x).max() / 448)
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("conv/input.dequantized", TensorProto.FLOAT, x.shape)
    )
    onnx.save(model, str(target))
    given = np.asarray(x * np.float32(1.5), np.float32)
    units = np.clip(given.astype(np.float64) / scale, -448, 448)
    exponent = np.floor(np.log2(np.maximum(np.abs(units), 2.0**-6)))
    step = 2.0 ** (exponent - 3)
    expected = np.rint(units / step) * step * scale
    actual = run(target, given, "conv/input.dequantized")
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_nvfp4_weights(tmp_path: Path) -> None:
    """A weight takes half a byte, and 16 weights share a byte; no scale has the graph's float type. Two
    DequantizeLinear nodes compute the values that the quantiser chose."""
    source = write_graph(MLP, tmp_path / "g.onnx")
    target, report = quantise(source, Scheme("nvfp4", 16))
    assert report.quantised == 3
    model = onnx.load(str(target))
    kept = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    assert kept["down.quantized"].dtype.name == "float4_e2m1fn"
    assert kept["down.scale.quantized"].shape == (8, 64)
    assert np.log2(kept["down.scale.unit"]) % 1 == 0
    nodes = {n.output[0]: n for n in model.graph.node}
    assert list(nodes["down.scale"].input) == ["down.scale.quantized", "down.scale.unit"]
    block = {a.name: a.i for a in nodes["down.dequantized"].attribute}
    assert block == {"axis": 0, "block_size": 16}
    weight = next(i for i in onnx.load(str(source)).graph.initializer if i.name == "down")
    scales = kept["down.scale.quantized"].astype(np.float32) * kept["down.scale.unit"]
    made = kept["down.quantized"].astype(np.float32) * np.repeat(scales, 16, 0)
    assert snr_db(made, onnx.numpy_helper.to_array(weight)) > 19
    values = 2 * 96 * 128 + 128 * 64
    assert sum(kept[f"{name}.quantized"].size for name in ("gate", "up", "down")) == values
    assert target.with_suffix(".weights").stat().st_size == values // 2  # scales are in the graph


@pytest.mark.parametrize(("name", "scaled", "unscaled"), [
    ("mlp", {"h", "p"}, ()), ("attention", {"h", "ar"}, ()), ("convolution", set(), ("t",)),
])  # fmt: skip
def test_factors_are_folded_in(
    name: str, scaled: set[str], unscaled: tuple[str, ...], tmp_path: Path
) -> None:
    """Outliers in a few channels ruin int8 inputs; factors save them where they can be folded."""
    source, x = write_graph(TEXTS[name], tmp_path / "g.onnx"), inputs(name)
    if name != "convolution":
        model = onnx.load(str(source))
        grown = {"norm", "shift"} if name == "attention" else {"norm"}
        for tensor in model.graph.initializer:
            if tensor.name in grown:
                values = onnx.numpy_helper.to_array(tensor).copy()
                values[[3, 17, 40]] *= 60
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        onnx.save(model, str(source))
    calibration = calibrate(source, x)
    conv = Rule("*/conv", W8A8)
    expected = run(source, x)
    plain, _ = quantise(source, W8A8, calibration, conv)
    without = snr_db(run(plain, x), expected)
    smooth = Scheme("int8", inputs="maximum", scaling="smooth")
    target, report = quantise(source, smooth, calibration, conv)
    with_factors = snr_db(run(target, x), expected)
    assert report.unscaled == unscaled
    assert report.alphas.keys() == scaled
    if scaled:
        assert report.alphas["h"] is not None
        assert with_factors > without + 6
    else:
        assert with_factors == without


@pytest.mark.parametrize("name", ["mlp", "attention"])
def test_folding_changes_nothing_by_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With factors but weights that are rounded to nothing, the graph computes what it did."""
    source, x = write_graph(TEXTS[name], tmp_path / "g.onnx"), inputs(name)
    target = tmp_path / "quantised.onnx"
    scheme = Scheme("int8", 32, scaling="awq")
    work = GraphQuantizer("g", source, Recipe("r", "float32", (Rule("*", scheme),)),
                          calibrate(source, x))  # fmt: skip
    factors = {}

    def choose(name: str, readers: object, scheme: object, fold: object) -> None:
        channels = readers[0].channels  # type: ignore[index]
        factors[name] = np.random.default_rng(len(factors)).uniform(0.5, 8, channels).astype("f4")
        work._rows[name] = factors[name]
        targets = [*fold.vectors, *([fold.matrix] if fold.matrix else [])]  # type: ignore[attr-defined]
        work._divisors.update(dict.fromkeys(targets, factors[name]))

    monkeypatch.setattr(work, "_choose", choose)
    work.write(target)
    assert len(factors) == 2
    # a factor in the wrong place would leave less than 10 dB
    assert snr_db(run(target, x), run(source, x)) > 27


def test_awq_and_gptq_help(tmp_path: Path) -> None:
    """On inputs of which a few channels dominate, both beat rounding to nearest in 4 bits."""
    source, x = write_graph(MLP, tmp_path / "g.onnx"), inputs("mlp")
    model = onnx.load(str(source))
    for tensor in model.graph.initializer:
        if tensor.name == "norm":
            values = np.abs(onnx.numpy_helper.to_array(tensor)).copy()
            values[::12] *= 20
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, str(source))
    calibration, expected = calibrate(source, x, gram=True), run(source, x)
    figures = {}
    for name, scheme in {
        "nearest": Scheme("int4", 32, search=False),
        "awq": Scheme("int4", 32, scaling="awq", search=False),
        "gptq": Scheme("int4", 32, search=False, gptq=True),
    }.items():
        target, _ = quantise(source, scheme, calibration if name != "nearest" else None)
        figures[name] = snr_db(run(target, x), expected)
    assert figures["awq"] > figures["nearest"] + 1
    assert figures["gptq"] > figures["nearest"] + 1


def test_first_rule_wins(tmp_path: Path) -> None:
    """A node that an earlier rule keeps in float stays as it is."""
    source = write_graph(MLP, tmp_path / "g.onnx")
    target, report = quantise(source, Scheme("int8", 32), None, Rule("g/down", None))
    assert (report.quantised, report.nodes) == (2, 3)
    names = {i.name for i in onnx.load(str(target)).graph.initializer}
    assert "down" in names
    assert "gate" not in names


def test_half_precision(tmp_path: Path) -> None:
    """Scales are of the graph's float type, and what is computed stays close."""
    source = write_graph(MLP, tmp_path / "g.onnx", dtype=np.float16)
    target = tmp_path / "quantised.onnx"
    recipe = Recipe("r", "float16", (Rule("*", Scheme("int8", 32)),))
    GraphQuantizer("g", source, recipe, None).write(target)
    onnx.checker.check_model(str(target), full_check=True)
    kinds = {i.name: i.data_type for i in onnx.load(str(target)).graph.initializer}
    assert kinds["up.scale"] == TensorProto.FLOAT16
    x = inputs("mlp").astype(np.float16)
    assert snr_db(run(target, x), run(source, x)) > 35


def test_what_was_not_recorded(tmp_path: Path) -> None:
    """A recipe that needs statistics says which, and what records them."""
    source = write_graph(MLP, tmp_path / "g.onnx")
    with pytest.raises(InputError, match="input 'h' of graph 'g': record it with .*calibrate"):
        quantise(source, W8A8)
    with pytest.raises(InputError, match="no input of 'h' in graph 'g'"):
        quantise(source, W8A8, Calibration("0" * 64, {}))
    with pytest.raises(InputError, match="calibrate again with --gram"):
        quantise(source, Scheme("int4", 32, gptq=True), calibrate(source, inputs("mlp")))
    convolution = write_graph(CONVOLUTION, tmp_path / "c.onnx")
    with pytest.raises(InputError, match="'g/conv' is a convolution"):
        quantise(convolution, Scheme("int8", 32))
