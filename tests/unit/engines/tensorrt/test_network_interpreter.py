"""The interpreter raises for anything without semantics, and reads every type of weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")

from janus_edge.engines.tensorrt.api import new_builder, new_network, new_parser
from janus_edge.engines.tensorrt.messages import Messages
from tests.tensorrt_network.attributes import CLASSES
from tests.tensorrt_network.comparison import teacher_forced
from tests.tensorrt_network.data_types import from_bytes
from tests.tensorrt_network.interpreter import FUNCTIONS, Interpreter
from tests.tensorrt_network.network import Network, UnknownError
from tests.tensorrt_network.parsing import rtx
from tests.tensorrt_network.reader import read_network
from tests.tensorrt_network.reference import Reference

trt: Any = rtx().module

ROOT = Path(__file__).parents[4]

Build = Callable[[Any, Any], Any]


def made(build: Build, shape: tuple[int, ...] = (2, 3, 4, 4)) -> Network:
    """Return a network of one float32 input and the layers that ``build`` adds."""
    builder = new_builder(rtx(), Messages().logger(trt))
    network: Any = new_network(rtx(), builder)
    tensor = build(network, network.add_input("x", trt.float32, shape))
    tensor.name = "y"
    network.mark_output(tensor)
    return read_network(trt, network)


def einsum(network: Any, x: Any) -> Any:
    return network.add_einsum([x], "abcd->abdc").get_output(0)


def linear_resize(network: Any, x: Any) -> Any:
    layer = network.add_resize(x)
    layer.scales, layer.resize_mode = (1, 1, 2, 2), trt.InterpolationMode.LINEAR
    return layer.get_output(0)


def same_padding(network: Any, x: Any) -> Any:
    layer = network.add_convolution_nd(x, 3, (1, 1), np.ones((3, 3, 1, 1), np.float32))
    layer.padding_mode = trt.PaddingMode.SAME_UPPER
    return layer.get_output(0)


def wrapping_slice(network: Any, x: Any) -> Any:
    layer = network.add_slice(x, (0, 0, 0, 0), (2, 3, 4, 4), (1, 1, 1, 1))
    layer.mode = trt.SampleMode.WRAP
    return layer.get_output(0)


def unnormalised_attention(network: Any, x: Any) -> Any:
    attention = network.add_attention(x, x, x, trt.AttentionNormalizationOp.NONE, False)
    return attention.get_output(0)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (einsum, "no semantics for layers of type EINSUM"),
        (linear_resize, "no semantics for resize_mode = LINEAR"),
        (same_padding, "no semantics for padding_mode = SAME_UPPER"),
        (wrapping_slice, "no semantics for mode = WRAP"),
        (unnormalised_attention, "no semantics for norm_op = NONE"),
    ],
)
def test_what_has_no_semantics(build: Build, told: str) -> None:
    """An unknown layer type or attribute value raises when the network is read."""
    with pytest.raises(UnknownError, match=told):
        made(build)


def tan(network: Any, x: Any) -> Any:
    return network.add_unary(x, trt.UnaryOperation.TAN).get_output(0)


def softsign(network: Any, x: Any) -> Any:
    return network.add_activation(x, trt.ActivationType.SOFTSIGN).get_output(0)


def aligned_corners(network: Any, x: Any) -> Any:
    layer = network.add_resize(x)
    layer.scales = (1, 1, 2, 2)
    layer.coordinate_transformation = trt.ResizeCoordinateTransformation.ALIGN_CORNERS
    return layer.get_output(0)


@pytest.mark.parametrize("build", [tan, softsign, aligned_corners])
def test_what_cannot_be_computed(build: Build) -> None:
    """An operation without a function raises when it is computed."""
    feeds = {"x": np.ones((2, 3, 4, 4), np.float32)}
    with pytest.raises(UnknownError, match="no semantics for"):
        Interpreter(made(build)).run(feeds)


@pytest.mark.parametrize("module", ["interpreter", "reader"])
def test_nothing_else_computes(module: str) -> None:
    """The modules that compute networks import neither ONNX Runtime nor onnx's reference evaluator."""
    code = f"import sys, tests.tensorrt_network.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "numpy" in loaded
    assert not loaded & {"onnx", "onnxruntime", "torch", "onnx_ir"}


def test_tables_agree() -> None:
    """Everything that can be read can be computed."""
    assert FUNCTIONS.keys() == CLASSES.keys()


def test_attributes_that_a_version_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class with an attribute that is missing from the tables is not read."""
    monkeypatch.setattr(trt.IUnaryLayer, "approximate", False, raising=False)
    with pytest.raises(UnknownError, match="UNARY has the attributes .*approximate"):
        made(tan)


def test_a_cache_that_another_layer_reads() -> None:
    """Another layer may read the cache before or after the update in place, so the network is refused."""

    def build(network: Any, x: Any) -> Any:
        write = network.add_constant((2,), np.zeros(2, np.int32)).get_output(0)
        update = network.add_constant((2, 3, 1, 4), np.ones((2, 3, 1, 4), np.float32))
        added = network.add_kv_cache_update(x, update.get_output(0), write, trt.KVCacheMode.LINEAR)
        summed = network.add_elementwise(x, added.get_output(0), trt.ElementWiseOperation.SUM)
        return summed.get_output(0)

    with pytest.raises(UnknownError, match="reads x, which .* overwrites"):
        Interpreter(made(build))


def test_a_cache_is_updated_in_place() -> None:
    """The given array is the output, and other positions stay as they are."""

    def build(network: Any, x: Any) -> Any:
        write = network.add_constant((2,), np.array([3, 1], np.int32)).get_output(0)
        update = network.add_constant((2, 3, 1, 4), np.ones((2, 3, 1, 4), np.float32))
        return network.add_kv_cache_update(
            x, update.get_output(0), write, trt.KVCacheMode.LINEAR
        ).get_output(0)

    cache = np.zeros((2, 3, 4, 4), np.float32)
    assert Interpreter(made(build)).run({"x": cache})["y"] is cache
    assert cache.sum(axis=(1, 3)).tolist() == [[0, 0, 0, 12], [0, 12, 0, 0]]


@pytest.mark.parametrize(
    ("dtype", "stored", "numbers"),
    [
        ("INT4", b"\x21\xf8", [1, 2, -8, -1]),
        ("FP4", b"\x21\xf8", [0.5, 1, 0, -6]),
        ("FP8", b"\x38\xb8\x7e\x01", [1, -1, 448, 2**-9]),
        ("BF16", b"\x80\x3f\x00\xc0", [1, -2]),
        ("HALF", b"\x00\x3c\x00\xc0", [1, -2]),
    ],
)
def test_stored_numbers(dtype: str, stored: bytes, numbers: list[float]) -> None:
    """Numbers are little-endian; of two 4-bit numbers the first is in the low bits."""
    assert from_bytes(stored, dtype, len(numbers)).tolist() == numbers


@pytest.mark.parametrize("float_type", [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16])
def test_fp8(tmp_path: Path, float_type: int) -> None:
    """Inputs quantised to E4M3 and E4M3 weights with a scale per channel compute as the parser takes them."""
    path = fp8_graph(tmp_path, float_type)
    builder = new_builder(rtx(), Messages().logger(trt))
    network: Any = new_network(rtx(), builder)
    parser = new_parser(rtx(), network, Messages().logger(trt))
    assert parser.parse_from_file(str(path))
    parsed = read_network(trt, network)
    x = np.random.default_rng(0).normal(size=(5, 16)) * 10
    feeds = {"x": x.astype(np.float16).astype(np.float32)}  # some are beyond 448 scales
    found = teacher_forced(parsed, feeds, Reference(path).run(feeds))
    assert {one.name for one in found} == {"q", "xd", "wd", "y"}
    assert not [str(one) for one in found if one]


def fp8_graph(folder: Path, float_type: int) -> Path:
    """Return a product of E4M3 inputs and E4M3 weights."""
    helper, fp8 = onnx.helper, onnx.TensorProto.FLOAT8E4M3FN
    floats = helper.tensor_dtype_to_np_dtype(float_type)
    zero = np.zeros((), ml_dtypes.float8_e4m3fn)
    weights = np.random.default_rng(1).normal(size=(16, 8)).astype(ml_dtypes.float8_e4m3fn)
    constants = {
        "s": (np.array(0.02, floats), float_type),
        "z": (zero, fp8),
        "w": (weights, fp8),
        "ws": (np.linspace(0.1, 0.5, 8).astype(floats), float_type),
    }
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"], axis=1),
            helper.make_node("MatMul", ["xd", "wd"], ["y"]),
        ],
        "fp8",
        [helper.make_tensor_value_info("x", float_type, ["N", 16])],
        [helper.make_tensor_value_info("y", float_type, ["N", 8])],
        [
            helper.make_tensor(name, kind, values.shape, values.tobytes(), raw=True)
            for name, (values, kind) in constants.items()
        ],
    )
    opset = [helper.make_opsetid("", 24)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=11)
    onnx.save(model, str(folder / "fp8.onnx"))
    return folder / "fp8.onnx"
