"""What TensorRT 10.3's ONNX parser takes (JetPack 6): a table, and a check of a lowered graph by it.

Source: onnx/onnx-tensorrt, ``docs/operators.md`` of the branch 10.1-GA (commit
96e781103cfc4adf4a6bb557e94bac8e693f6f4c, 2024-06-17), and ``docs/Changelog.md`` for what came
after: 10.2 changed no operator's support, 10.3 (the commit that ONNX Runtime pins for it is
62bdde2a04fcd53c2409cb895ee18db445b7e755) lifted "axes must be an initializer" from Slice and moved
ScatterElements with reduction to another plugin. Rules marked (source) were read in
``onnxOpImporters.cpp`` and ``importerUtils.cpp`` of the same commit; that blocks are for int4 only,
in TensorRT's own operator reference, "Dequantize", before 10.8.

Operators whose restrictions nothing here checks (loops, recurrent networks, pooling, ...) are left
out of the table: no graph of ours has them, and one that had would be named.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir

_D = ir.DataType
_FLOATS = frozenset({_D.FLOAT, _D.FLOAT16, _D.BFLOAT16})
_NUMBERS = _FLOATS | {_D.INT32, _D.INT64}
_ALL = _NUMBERS | {_D.BOOL}

#: Operators by the types that they take.
_BY_TYPES: tuple[tuple[frozenset[ir.DataType], str], ...] = (
    (
        _FLOATS,
        """Acos Acosh Asin Asinh Atan Atanh BatchNormalization Ceil Celu Clip Conv ConvTranspose Cos
        Cosh Elu Erf Exp Floor Gemm GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish
        LayerNormalization LeakyRelu Log LogSoftmax LpNormalization MatMul Pow PRelu QuantizeLinear
        Reciprocal Resize Round Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh
        ThresholdedRelu""",
    ),
    (frozenset({_D.FLOAT, _D.FLOAT16}), "InstanceNormalization Mish"),
    (
        _NUMBERS,
        """Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual Less LessOrEqual Max
        Min Mod Mul Neg Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
        ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu ScatterElements ScatterND Sign
        SpaceToDepth Sub Sum""",
    ),
    (_NUMBERS | {_D.INT8}, "Gelu"),
    (
        _ALL,
        """Concat Constant ConstantOfShape Expand Flatten Gather GatherElements GatherND Identity
        Reshape Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where""",
    ),
    (_ALL | {_D.UINT8}, "Cast CastLike"),
    (frozenset({_D.BOOL}), "And Not Or Xor"),
    (frozenset({_D.INT8, _D.INT4, _D.FLOAT8E4M3FN}), "DequantizeLinear"),
)

#: The types that each operator's data may have.
OPERATORS: dict[str, frozenset[ir.DataType]] = {
    name: types for types, names in _BY_TYPES for name in names.split()
}

#: Inputs that must be constants ("must be an initializer").
_CONSTANT_INPUTS = {"Squeeze": 1, "Unsqueeze": 1} | {
    name: 1 for name in OPERATORS if name.startswith("Reduce")
}

#: Opsets that the parser documents, and the one for int4, whose weights it reads all the same.
_OLDEST, _NEWEST, _INT4 = 9, 20, 21


def check(model: ir.Model) -> tuple[str, ...]:
    """Every node that the parser would refuse or misread, as 'name: reason'; empty if it takes all."""
    opset = model.opset_imports[""]
    four_bits = any(v is not None and v.dtype == _D.INT4 for n in model.graph for v in n.inputs)
    newest = _INT4 if four_bits else _NEWEST
    problems = []
    if not _OLDEST <= opset <= newest:
        problems.append(f"{model.graph.name}: opset {opset} is not among {_OLDEST} to {newest}")
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        reason = _reason(node, opset)
        if reason:
            problems.append(f"{node.name}: {reason}")
    return tuple(problems)


def _reason(node: ir.Node, opset: int) -> str | None:
    """Why the parser does not take ``node``; None where it does."""
    if node.domain or node.op_type not in OPERATORS:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        return f"TensorRT 10.3 has no operator {name}"
    for value in _data(node, opset):
        dtype = _dtype(value)
        if dtype not in OPERATORS[node.op_type]:
            return f"{node.op_type} takes no {dtype.name if dtype else 'unknown type'} ('{value.name}')"
    place = _CONSTANT_INPUTS.get(node.op_type)
    if place is not None and len(node.inputs) > place and not _is_constant(node.inputs[place]):
        return f"input {place} of {node.op_type} is not constant"
    rule = _RULES.get(node.op_type)
    return rule(node) if rule else None


def _data(node: ir.Node, opset: int) -> list[ir.Value]:
    """The inputs of the operator's own type; what it makes where it has none."""
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    if not schema.inputs:
        return list(node.outputs)
    formals = schema.inputs
    symbol = formals[1 if node.op_type == "Where" else 0].type_str
    symbols = [formals[min(i, len(formals) - 1)].type_str for i in range(len(node.inputs))]
    pairs = zip(node.inputs, symbols, strict=True)
    return [value for value, each in pairs if value is not None and each == symbol]


def _dtype(value: ir.Value) -> ir.DataType | None:
    """The value's type; behind Q/DQ nodes, whose outputs nobody declared, what their inputs say."""
    node = value.producer()
    if value.dtype is not None or node is None:
        return value.dtype
    if node.op_type == "DequantizeLinear" and node.inputs[1] is not None:
        return node.inputs[1].dtype
    if node.op_type == "QuantizeLinear":
        zero_point = node.inputs[2] if len(node.inputs) > 2 else None
        return _D.UINT8 if zero_point is None else zero_point.dtype
    return None


def _is_constant(value: ir.Value | None) -> bool:
    if value is None or value.is_initializer():
        return True
    node = value.producer()
    return node is not None and node.op_type == "Constant"


def _quantisation(node: ir.Node) -> str | None:
    """Zero points are zero (table); blocks are of int4 in two axes (reference), and even (source)."""
    values, scale = node.inputs[:2]
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if zero_point is not None and (
        zero_point.const_value is None or zero_point.const_value.numpy().any()
    ):
        return "its zero point is not a constant of zeros"
    assert values is not None
    assert scale is not None
    if scale.const_value is None:
        return "its scale is not constant"
    if node.attributes.get_int("block_size", 0):
        if _dtype(values) != _D.INT4:
            return (
                f"blocks of {getattr(_dtype(values), 'name', None)}: TensorRT 10.3 takes blocks of "
                "int4 only; use the recipe int4-weight or int8"
            )
        if values.shape is None or len(values.shape) != 2:
            return "int4 blocks of a tensor that has not two axes"
    if _dtype(values) == _D.INT4 and (values.shape is None or _odd(values.shape[-1])):
        return "int4 with an odd last axis"
    return None


def _odd(size: int | ir.SymbolicDim) -> bool:
    return not isinstance(size, int) or size % 2 == 1


def _scatter(node: ir.Node) -> str | None:
    if "reduction" in node.attributes:  # (source) refused even where it says "none"
        return f"{node.op_type} has the attribute reduction"
    return None


def _resize(node: ir.Node) -> str | None:
    allowed = {
        "mode": {"nearest", "linear"},
        "nearest_mode": {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"},
        "coordinate_transformation_mode": {
            "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners",
        },
        "keep_aspect_ratio_policy": {"stretch"},
    }  # fmt: skip
    for name, values in allowed.items():
        found = node.attributes.get_string(name, None)
        if found is not None and found not in values:
            return f"Resize has {name} = {found}"
    if node.attributes.get_int("antialias", 0):
        return "Resize has antialias"
    return "Resize has axes" if "axes" in node.attributes else None


def _layer_norm(node: ir.Node) -> str | None:
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return "only the first output of LayerNormalization is supported"
    return None


def _range(node: ir.Node) -> str | None:
    types = {value.dtype for value in node.inputs if value is not None}
    if types - {_D.FLOAT, _D.INT32, _D.INT64}:  # (source)
        return "Range counts in int32, int64 and float32 only"
    return None


_RULES: dict[str, Callable[[ir.Node], str | None]] = {
    "QuantizeLinear": _quantisation,
    "DequantizeLinear": _quantisation,
    "ScatterND": _scatter,
    "ScatterElements": _scatter,
    "Resize": _resize,
    "LayerNormalization": _layer_norm,
    "Range": _range,
}
