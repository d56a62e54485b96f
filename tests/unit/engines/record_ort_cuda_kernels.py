"""Writes `ort_cuda_kernels.json`: what the installed onnxruntime-gpu registers for the GPU.

    python tests/unit/engines/record_ort_cuda_kernels.py

It needs the libraries of CUDA and cuDNN, of TensorRT as well (ONNX Runtime lists all of its providers),
but no kernel runs: the recorded table was made without a GPU, on libraries of these names whose
functions do nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("ort_cuda_kernels.json")

#: Operators that graphs of an engine have, or might.
_OPERATORS = {
    "": "Add ArgMax Attention Cast Concat Conv DequantizeLinear Div Gather Gelu GroupNormalization "
    "InstanceNormalization LayerNormalization LpNormalization MatMul Mul QuantizeLinear "
    "RMSNormalization Range Reshape Resize RotaryEmbedding Shape Sigmoid Slice Softmax Split Squeeze "
    "Sub TensorScatter Transpose Unsqueeze",
    "com.microsoft": "GroupQueryAttention MatMulNBits SkipSimplifiedLayerNormalization",
}

#: Types that our graphs have.
_TYPES = {
    "bfloat16", "bool", "float", "float16", "int32", "int4", "int64", "int8", "uint4", "uint8",
}  # fmt: skip

#: Kernels for older versions only are left out.
_OLDEST_OPSET = 20

_NO_END = 2**31 - 1


def rows(kernels: Any) -> list[list[Any]]:
    """[domain, operator, first version, last or null, types by their symbols], without doubles."""
    found = set()
    for kernel in kernels:
        if kernel.op_name not in _OPERATORS.get(kernel.domain, "").split():
            continue
        first, last = kernel.version_range
        if not kernel.domain and last < _OLDEST_OPSET:
            continue
        types = {
            symbol: sorted({t.removeprefix("tensor(").removesuffix(")") for t in names} & _TYPES)
            for symbol, names in sorted(kernel.type_constraints.items())
        }
        if all(types.values()):
            end = None if last == _NO_END else last
            found.add((kernel.domain, kernel.op_name, first, end, json.dumps(types)))
    ordered = sorted(found, key=lambda r: (*r[:3], r[3] or _NO_END, r[4]))
    return [[*row[:4], json.loads(row[4])] for row in ordered]


def main() -> None:
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def

    kernels = [k for k in get_all_opkernel_def() if k.provider == "CUDAExecutionProvider"]
    lines = ",\n".join(json.dumps(row) for row in rows(kernels))
    version = onnxruntime.__version__
    TABLE.write_text(f'{{"onnxruntime-gpu": "{version}", "kernels": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
