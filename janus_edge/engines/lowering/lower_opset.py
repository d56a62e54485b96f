"""The operator set from 24 down to 20, or to 21 where weights are int4.

TensorRT 10.3's parser documents opset 9 to 20 and has no upper limit: it reads each node as the
newest form it knows, so a node of another meaning would be misread without a word. Every node is
therefore compared with the older set's schema, and one that it does not express is an error.

* Versions that only widened the types (Cast, Reshape, Shape, Conv, ...) are the same operator while
  the types are the older ones.
* QuantizeLinear and DequantizeLinear per tensor and per axis are those of opset 19, once attributes
  that hold their defaults are dropped.
* int4 and blocks begin with opset 21. TensorRT 10.3's parser takes int4 DequantizeLinear with a
  scale of the weight's rank and works the block out from the shapes, so graphs with int4 get opset
  21, in which no operator that they may use differs from opset 20 but for types. Blocks of int8 are
  refused where the operators are checked (:mod:`tensorrt_10_3_operators`), and here get 21 as well.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from janus_edge.engines.lowering.passes import Outcome
from janus_edge.errors import LoweringError

#: The opset for most graphs, and for blocked weights; and the version of ONNX's file format each.
PLAIN, BLOCKED = 20, 21
_IR_VERSIONS = {PLAIN: 9, BLOCKED: 10}

#: Operators of which opset 21 to 24 has a version of its own that computes the same: the text of
#: their definition is word for word that of the older one (Cast's differs for types that the older
#: one does not have; Q/DQ's describes blocks and gives the same formula).
_SAME_MEANING = frozenset(
    {
        "Cast", "Constant", "ConstantOfShape", "Conv", "DequantizeLinear", "Flatten", "Identity",
        "InstanceNormalization", "Pad", "QuantizeLinear", "Reshape", "Shape", "Size", "Squeeze",
        "TopK", "Transpose", "Unsqueeze",
    }
)  # fmt: skip

#: Problems that an error tells in full.
_SHOWN = 3

_FOUR_BITS = (ir.DataType.INT4, ir.DataType.UINT4)


def rewrite(model: ir.Model) -> Outcome:
    """Set the opset, and drop attributes that the older set does not have from nodes in which they
    hold their defaults.

    Counts those nodes, and one for the opset itself. Raises LoweringError, and
    changes nothing, when there are nodes that the older set cannot express.
    """
    source = model.opset_imports[""]
    target = BLOCKED if any(map(_is_blocked, model.graph)) else PLAIN
    if source <= target:
        return Outcome(0, (f"opset {source} is not above {target}",))
    nodes = list(ir.traversal.RecursiveGraphIterator(model.graph))
    problems = [f"the function {key[1]} (no operator)" for key in model.functions]
    problems += [f"{n.name}: {why}" for n in nodes if (why := _problem(n, source, target))]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more nodes" if len(problems) > _SHOWN else ""
        raise LoweringError(
            f"{model.graph.name}: opset {target} cannot express {'; '.join(problems[:_SHOWN])}{more}; "
            "lower these nodes to older operators first, or export the bundle with --precision fp16"
        )
    changed = 1
    for node in nodes:
        extra = _extra_attributes(node, target)
        for name in extra:
            node.attributes.pop(name)
        changed += bool(extra)
    model.opset_imports[""] = target
    model.ir_version = min(model.ir_version, _IR_VERSIONS[target])
    return Outcome(changed)


def _is_blocked(node: ir.Node) -> bool:
    quantised = node.op_type in ("QuantizeLinear", "DequantizeLinear") and not node.domain
    types = {v.dtype for v in (*node.inputs, *node.outputs) if v is not None}
    return quantised and (
        node.attributes.get_int("block_size", 0) > 0 or not types.isdisjoint(_FOUR_BITS)
    )


def _problem(node: ir.Node, source: int, target: int) -> str | None:
    """Why the operator set ``target`` cannot express ``node``; None where it can."""
    if node.domain:
        return f"the operator {node.domain}.{node.op_type} is not standard"
    newer, older = _schema(node, source), _schema(node, target)
    if newer is None or older is None or older.deprecated:
        return f"there is no {node.op_type} in it"
    if newer.since_version == older.since_version:
        return None
    if node.op_type not in _SAME_MEANING:
        return f"{node.op_type} of opset {newer.since_version} may mean something else in it"
    for name in node.attributes:
        if name not in older.attributes and not _is_default(node, name, newer):
            return f"{node.op_type} has {name} = {node.attributes[name].value}"
    return _wrong_type(node, older)


def _schema(node: ir.Node, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _extra_attributes(node: ir.Node, target: int) -> list[str]:
    older = _schema(node, target)
    assert older is not None
    return [name for name in node.attributes if name not in older.attributes]


def _is_default(node: ir.Node, name: str, schema: onnx.defs.OpSchema) -> bool:
    if name not in schema.attributes:
        return False
    default = schema.attributes[name].default_value
    held = ir.to_proto(node.attributes[name])
    return bool(
        default.type
        and onnx.helper.get_attribute_value(default) == onnx.helper.get_attribute_value(held)
    )


def _wrong_type(node: ir.Node, schema: onnx.defs.OpSchema) -> str | None:
    """A type that the schema does not allow; two in place of one among them."""
    allowed = {t.type_param_str: t.allowed_type_strs for t in schema.type_constraints}
    seen: dict[str, str] = {}
    for values, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for i, value in enumerate(values):
            if value is None or value.dtype is None or not formals:
                continue
            symbol = formals[min(i, len(formals) - 1)].type_str
            found = f"tensor({_type_name(value.dtype)})"
            if found not in allowed.get(symbol, [symbol]):
                return f"{node.op_type} takes no {found} ('{value.name}')"
            if seen.setdefault(symbol, found) != found:
                return f"{node.op_type} takes one type where there are {seen[symbol]} and {found}"
    return None


def _type_name(dtype: ir.DataType) -> str:
    """As ONNX's schemas write it."""
    return dtype.name.lower()
