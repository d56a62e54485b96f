"""Small graphs as ONNX text before and after a pass, and what ONNX Runtime makes of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from janus_edge.engines.lowering.passes import Outcome
from tests.unit.engines.lowering.small_graphs import fill_weights

Array = NDArray[Any]
HEADER = '<ir_version: 11, opset_import: ["" : 24]>\n'

#: The float types of ONNX text, and how near two ways to compute may come.
TOLERANCES = {"float": 2e-6, "float16": 4e-3}


def parsed(text: str, dtype: str = "float") -> ir.Model:
    """Parse the graph ``text`` with ``dtype`` for 'float', and infer the types of its inner values.

    A declared value that no node makes becomes a weight with random values.
    """
    model = onnx.parser.parse_model(HEADER + text.replace("float[", f"{dtype}["))
    fill_weights(model.graph)
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(model, strict_mode=True))


def lowered(text: str, rewrite: Callable[[ir.Model], Outcome], dtype: str = "float") -> ir.Model:
    """The graph after a pass that rewrote all it looks for, and is valid."""
    model = parsed(text, dtype)
    outcome = rewrite(model)
    assert outcome.changed
    assert outcome.left == ()
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return model


def ops(model: ir.Model) -> Counter[str]:
    """How many nodes there are of each operator."""
    return Counter(node.op_type for node in model.graph)


def run(model: ir.Model, feeds: dict[str, Array]) -> list[Array]:
    """The outputs without optimisations, so that every node runs as it is written."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, feeds)]


def check_equal(
    text: str, rewrite: Callable[[ir.Model], Outcome], dtype: str, feeds: dict[str, Array]
) -> None:
    """Before and after the pass, all outputs agree relative to the largest value, in ``dtype``."""
    wanted = np.float16 if dtype == "float16" else np.float32
    cast = {k: v.astype(wanted) if v.dtype.kind == "f" else v for k, v in feeds.items()}
    before, after = run(parsed(text, dtype), cast), run(lowered(text, rewrite, dtype), cast)
    for expected, found in zip(before, after, strict=True):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        largest = float(np.abs(expected).max())
        assert np.isfinite(largest)
        np.testing.assert_allclose(
            found.astype(np.float64), expected, rtol=0, atol=TOLERANCES[dtype] * largest
        )
