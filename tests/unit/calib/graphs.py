"""Small graphs as ONNX text, with weights and calibration made up for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from janus_edge.calib.calibration_file import Calibration
from janus_edge.calib.operands import operands_of
from janus_edge.calib.statistics import InputStatistics

Floats = NDArray[np.float32]
HEADER = '<ir_version: 11, opset_import: ["" : 24]>\n'

#: A norm that feeds two layers, the second of them gated by the first, and a layer after the gate.
MLP = (
    HEADER
    + """
mlp (float[N,96] x) => (float[N,64] y)
<float[96] norm, float[96,128] gate, float[96,128] up, float[128,64] down>
{
    [n] h = RMSNormalization <epsilon = 1e-6> (x, norm)
    [gate] g = MatMul (h, gate)
    [up] u = MatMul (h, up)
    [s] sigmoid = Sigmoid (g)
    [silu] silu = Mul (g, sigmoid)
    [product] p = Mul (silu, u)
    [down] y = MatMul (p, down)
}
"""
)

#: Attention of 4 heads of 16 on [1, S, 64] whose values have a bias, and the projection after it.
ATTENTION = (
    HEADER
    + """
attention (float[1,S,64] x) => (float[1,S,64] y)
<float[64] norm, float[64] shift, float[64,64] q, float[64,64] k, float[64,64] v, float[64] bias,
 float[64,64] o, int64[4] heads = {0, 0, 4, 16}, int64[3] flat = {0, 0, 64}>
{
    [n] h = LayerNormalization (x, norm, shift)
    [q] qm = MatMul (h, q)
    [k] km = MatMul (h, k)
    [v] vm = MatMul (h, v)
    [b] vb = Add (vm, bias)
    qr = Reshape (qm, heads)
    kr = Reshape (km, heads)
    vr = Reshape (vb, heads)
    qt = Transpose <perm = [0, 2, 1, 3]> (qr)
    kt = Transpose <perm = [0, 2, 1, 3]> (kr)
    vt = Transpose <perm = [0, 2, 1, 3]> (vr)
    [a] at = Attention <is_causal = 1> (qt, kt, vt)
    ab = Transpose <perm = [0, 2, 1, 3]> (at)
    ar = Reshape (ab, flat)
    [o] y = MatMul (ar, o)
}
"""
)

#: A convolution, an activation that factors cannot pass, and a layer with a bias of its own.
CONVOLUTION = (
    HEADER
    + """
convolution (float[N,8,6,6] x) => (float[N,36,12] y)
<float[32,8,3,3] kernel, float[32] bias, float[32,12] last, int64[3] rows = {0, 32, 36}>
{
    [conv] c = Conv <pads = [1, 1, 1, 1]> (x, kernel, bias)
    [gelu] g = Gelu (c)
    r = Reshape (g, rows)
    t = Transpose <perm = [0, 2, 1]> (r)
    [last] y = MatMul (t, last)
}
"""
)


def write_graph(
    text: str, path: Path, seed: int = 0, dtype: type[np.floating] = np.float32
) -> Path:
    """Parse ``text``, give each declared weight without a value a random one, and save it."""
    if dtype is np.float16:
        text = text.replace("float[", "float16[")
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(seed)
    inputs = {i.name for i in model.graph.input}
    made = []
    for info in model.graph.value_info:
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        if info.name in inputs or info.name in {i.name for i in model.graph.initializer}:
            continue
        values = rng.standard_t(6, shape) * (0.3 / shape[0] ** 0.5 if len(shape) == 2 else 0.1)
        if info.name == "norm":
            values = 1 + values
        made.append(onnx.numpy_helper.from_array(values.astype(dtype), info.name))
    model.graph.initializer.extend(made)
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(
        model, str(path), save_as_external_data=True, location=path.with_suffix(".weights").name,
        size_threshold=1024,
    )  # fmt: skip
    return path


def run(path: Path, x: NDArray[np.floating], output: str = "y") -> NDArray[np.floating]:
    """Return an output computed without optimisations, so that every node runs as written."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (y,) = session.run([output], {"x": x})
    return np.asarray(y)


def tensors_of(path: Path, x: Floats) -> dict[str, Floats]:
    """Every input that a quantisable node of the graph reads when it is given ``x``."""
    model = onnx.load(str(path))
    names = {o.input for o in operands_of(model.graph)}
    for name in names - {"x"}:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = sorted(names - {"x"})
    found = dict(zip(wanted, session.run(wanted, {"x": x}), strict=True))
    return {**found, "x": x}


def calibrate(path: Path, x: Floats, *, gram: bool = False) -> Calibration:
    """A calibration of the graph 'g' at ``path`` from one batch."""
    model, seen = onnx.load(str(path), load_external_data=False), tensors_of(path, x)
    nodes = {}
    for operand in operands_of(model.graph):
        linear = operand.axis == -1
        recorded = InputStatistics(operand.channels, axis=operand.axis, gram=gram and linear)
        recorded.add(seen[operand.input])
        nodes[operand.input] = recorded
    return Calibration("0" * 64, {"g": nodes})


def snr_db(actual: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """10 log10 of the signal over the error."""
    error = np.sum((actual.astype(np.float64) - expected) ** 2)
    return float(10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / error))
