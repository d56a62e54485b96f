"""From a module to an ONNX graph without weights.

The module is built and traced on fake tensors (shapes and dtypes, no memory), optimised, and
cleaned: nodes are named after the module they come from (``layers.0.self_attn.q_proj/MatMul``),
because precision recipes are rules over these names, and what depends on the machine (stack
traces) is dropped, so that equal checkpoints give equal files.
"""

from __future__ import annotations

import ast
import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import onnxscript.optimizer
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from janus_edge.errors import ExportError
from janus_edge.graphs import OPSET, Port, Signature

IR_VERSION = 11
_SCOPES = "pkg.torch.onnx.name_scopes"

#: Example sizes for tracing: all different and above 1, so that none is taken for a constant.
_EXAMPLE_SIZES = {"B": 6, "S": 5, "C": 19, "N": 3, "P": 7}


def trace(
    build: Callable[[], torch.nn.Module], ports: Signature, dtype: torch.dtype, *, name: str
) -> ir.Model:
    """Trace the module that ``build`` makes into a graph with the inputs and outputs ``ports``.

    The weights become initializers without values, under their parameters' names
    (``export/weights.py`` fills them in). Raises ExportError when the result is not what the
    table of graphs says.
    """
    with FakeTensorMode(), _quiet():
        module = build().eval()
        program = torch.onnx.export(
            module,
            tuple(_example(port, dtype) for port in ports.inputs),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=OPSET,
            input_names=[port.name for port in ports.inputs],
            output_names=[port.name for port in ports.outputs],
            dynamic_shapes=_dynamic_shapes(ports),
        )
    if program is None:  # pragma: no cover - torch raises instead; narrows the type
        raise ExportError(f"{name}: torch.onnx.export returned nothing")
    model = program.model
    _optimize(model)
    _fit_to_table(model, ports, name)
    _clean(model, name)
    return model


def _example(port: Port, dtype: torch.dtype) -> torch.Tensor:
    dtypes = {"float": dtype, "float32": torch.float32, "int64": torch.int64}
    return torch.empty([_example_size(d) for d in port.shape], dtype=dtypes[port.dtype])


def _example_size(dim: int | str) -> int:
    if isinstance(dim, int):
        return dim
    return 2 * _EXAMPLE_SIZES[dim[1:]] if dim.startswith("2") else _EXAMPLE_SIZES[dim]


def _dynamic_shapes(ports: Signature) -> tuple[Any, ...]:
    dims = {symbol: torch.export.Dim(symbol, max=1 << 20) for symbol in _EXAMPLE_SIZES}

    def of(port: Port) -> dict[int, object]:
        return {
            axis: 2 * dims[d[1:]] if d.startswith("2") else dims[d]
            for axis, d in enumerate(port.shape)
            if isinstance(d, str)
        }

    shapes = tuple(of(port) for port in ports.inputs)
    if any(port.name == "past_key.0" for port in ports.inputs):
        return (*shapes[:2], shapes[2:])  # forward(self, inputs_embeds, past_lengths, *caches)
    return shapes


def _optimize(model: ir.Model) -> None:
    """Fold constants and shapes; weights are made inputs meanwhile, as they have no values."""
    weights = dict(model.graph.initializers)
    for name, value in weights.items():
        value.const_value = None
        del model.graph.initializers[name]
        model.graph.inputs.append(value)
    onnxscript.optimizer.optimize_ir(model)
    for name, value in weights.items():
        model.graph.inputs.remove(value)
        if value.uses():
            model.graph.initializers[name] = value


def _fit_to_table(model: ir.Model, ports: Signature, name: str) -> None:
    """Check names, types and shapes against the table, and take its symbols for dimensions."""
    graph = model.graph
    for kind, values, wanted in (
        ("inputs", graph.inputs, ports.inputs),
        ("outputs", graph.outputs, ports.outputs),
    ):
        found = [v.name for v in values]
        if found != [p.name for p in wanted]:
            raise ExportError(
                f"{name}: {kind} are {found}, the table says {[p.name for p in wanted]}"
            )
        for value, port in zip(values, wanted, strict=True):
            shape = value.shape
            fixed = (
                [d if isinstance(d, int) else None for d in shape] if shape is not None else None
            )
            if fixed != [d if isinstance(d, int) else None for d in port.shape]:
                raise ExportError(f"{name}: {value.name} has shape {shape}, the table says {port}")
            value.shape = ir.Shape(port.shape)


def _clean(model: ir.Model, name: str) -> None:
    """Readable, unique names for nodes and values; nothing that depends on the machine."""
    graph = model.graph
    kept = {id(v) for v in (*graph.inputs, *graph.outputs, *graph.initializers.values())}
    seen: Counter[str] = Counter()
    for node in graph:
        scope = _module_scope(node)
        stem = f"{scope}/{node.op_type}" if scope else node.op_type
        seen[stem] += 1
        node.name = stem if seen[stem] == 1 else f"{stem}_{seen[stem] - 1}"
        for index, value in enumerate(node.outputs):
            if id(value) not in kept:
                value.name = f"{node.name}_output_{index}"
            value.metadata_props.clear()
        node.metadata_props.clear()
        node.doc_string = None
    constants = 0
    for value in list(graph.initializers.values()):
        value.metadata_props.clear()
        if value.const_value is not None:
            value.name = value.const_value.name = f"constant_{constants}"
            constants += 1
    for value in graph.inputs:
        value.metadata_props.clear()
    graph.name, graph.doc_string = name, None
    graph.metadata_props.clear()
    model.metadata_props.clear()
    model.producer_name, model.producer_version = "janus-edge", None
    model.ir_version = IR_VERSION


def _module_scope(node: ir.Node) -> str:
    """Innermost module of a node: the last scope that names a module rather than an operation."""
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    modules = [s for s in scopes[:-1] if s and not s.startswith("_empty_nn_module")]
    return re.sub(r"[^\w.]", "_", modules[-1]) if modules else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's own notices (torchvision absent, copyreg deprecations)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
