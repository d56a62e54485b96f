"""Whether ONNX Runtime's CUDA provider has a kernel for a node, by the rules of its registry.

`ort_cuda_kernels.json` is what onnxruntime-gpu registers (`record_ort_cuda_kernels.py`). A kernel with a
last version serves those from its first to its last; one without serves its first version only
(KernelRegistry::VerifyKernelDef).
"""

from __future__ import annotations

import functools
import json

import onnx
import onnx_ir as ir

from tests.unit.engines.record_ort_cuda_kernels import TABLE

#: Inputs that these kernels read in the host's memory; a shape that is read elsewhere is copied, or
#: takes its reader to the CPU.
ON_THE_HOST = {("Reshape", 1), ("Slice", 1), ("Slice", 2), ("Slice", 3), ("Slice", 4)}


@functools.cache
def kernels() -> dict[tuple[str, str], list[tuple[int, int | None, dict[str, list[str]]]]]:
    """First version, last and types by symbol of every kernel, by domain and operator."""
    found: dict[tuple[str, str], list[tuple[int, int | None, dict[str, list[str]]]]] = {}
    for domain, name, first, last, types in json.loads(TABLE.read_text())["kernels"]:
        found.setdefault((domain, name), []).append((first, last, types))
    return found


def has_kernel(node: ir.Node, opset: int) -> bool:
    """Whether one serves ``node`` of a graph of ``opset``; a type that is not known fits any."""
    version, symbols = _schema(node, opset)
    held: dict[str, set[str]] = {}
    for value, symbol in symbols:
        if value is not None and value.dtype is not None:
            held.setdefault(symbol, set()).add(value.dtype.name.lower())
    return any(
        (first == version if last is None else first <= version <= last)
        and all(held.get(symbol, set()) <= {*names} for symbol, names in types.items())
        for first, last, types in kernels().get((node.domain, node.op_type), [])
    )


def _schema(node: ir.Node, opset: int) -> tuple[int, list[tuple[ir.Value | None, str]]]:
    """The version of the operator, and the symbol of the type of every input and output."""
    if node.domain:  # one version each, and what goes in and out first has the type T
        return 1, [(node.inputs[0], "T"), (node.outputs[0], "T")]
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    symbols = []
    for values, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for index, value in enumerate(values):
            symbols.append((value, formals[min(index, len(formals) - 1)].type_str))
    return schema.since_version, symbols
