"""Operators that ONNX Runtime's CUDA provider has kernels for, as far as our graphs have them.

Source: the section "Operators implemented by CUDAExecutionProvider" of docs/OperatorKernels.md, as it
was while ONNX Runtime had the operators of 1.31.1 (GroupQueryAttention with 16 inputs, Range of opset
27, BitCast of 26). Versions are those whose kernel serves opset 24; types are those of floats, empty
for operators that take any type.
"""

from __future__ import annotations

_BOTH = frozenset({"FLOAT", "FLOAT16"})
_ALL = _BOTH | {"BFLOAT16"}
_ANY: frozenset[str] = frozenset()

#: Domain and operator: the float types of its kernel.
KERNELS: dict[tuple[str, str], frozenset[str]] = {
    ("", "Add"): _ALL,
    ("", "ArgMax"): _BOTH,
    ("", "Attention"): _ALL,
    ("", "Cast"): _ALL,
    ("", "Concat"): _ANY,
    ("", "Conv"): _ALL,
    ("", "DequantizeLinear"): _BOTH,
    ("", "Div"): _ALL,
    ("", "Gather"): _ANY,
    ("", "Gelu"): _ALL,
    ("", "InstanceNormalization"): _BOTH,
    ("", "LayerNormalization"): _ALL,
    ("", "LpNormalization"): _BOTH,
    ("", "MatMul"): _ALL,
    ("", "Mul"): _ALL,
    ("", "QuantizeLinear"): _BOTH,
    ("", "RMSNormalization"): _ALL,
    ("", "Reshape"): _ANY,
    ("", "Resize"): _BOTH,
    ("", "RotaryEmbedding"): _ALL,
    ("", "Shape"): _ANY,
    ("", "Sigmoid"): _ALL,
    ("", "Slice"): _ANY,
    ("", "Split"): _ANY,
    ("", "Squeeze"): _ANY,
    ("", "Sub"): _ALL,
    ("", "TensorScatter"): _ANY,
    ("", "Transpose"): _ANY,
    ("", "Unsqueeze"): _ANY,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): _ALL,
}

#: Inputs that these kernels read in the host's memory; a shape that is read elsewhere is copied, or
#: takes its reader to the CPU.
ON_THE_HOST = {("Reshape", 1), ("Slice", 1), ("Slice", 2), ("Slice", 3), ("Slice", 4)}
