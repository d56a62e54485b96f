"""Residual additions joined with the RMS norm behind them: SkipSimplifiedLayerNormalization.

    sum = Add(a, b);  y = RMSNormalization(sum, weight)   ->   y, sum = SkipSimplified...(a, b, weight)

``sum`` keeps its other readers. A norm of anything else (the first one, of the inputs) stays.
"""

from __future__ import annotations

import onnx_ir as ir

from janus_edge.engines.lowering import matching
from janus_edge.engines.lowering.matching import Unlike, check, known, producer
from janus_edge.engines.lowering.passes import Outcome


def rewrite(model: ir.Model) -> Outcome:
    """Every RMSNormalization of a sum of two values of one shape; others are left with the reason."""
    changed, left = 0, []
    for norm in [n for n in model.graph if matching.is_op(n, "RMSNormalization")]:
        try:
            addition = _match(norm)
        except Unlike as why:
            left.append(f"{norm.name}: {why}")
            continue
        _rewrite(model.graph, addition, norm)
        changed += 1
    if changed:
        model.opset_imports[matching.MICROSOFT] = 1
    return Outcome(changed, tuple(left))


def _match(norm: ir.Node) -> ir.Node:
    total, weight = map(known, norm.inputs)
    addition = producer(total, "Add")
    shapes = [known(i).shape for i in addition.inputs]
    check(
        None not in shapes and shapes[0] == shapes[1],
        f"{matching.named(total)} is not a sum of two values of one known shape",
    )
    axes = matching.rank(known(addition.inputs[0]))
    check(axes in (2, 3), f"{matching.named(total)} has {axes} axes, the operator takes 2 or 3")
    epsilon = norm.attributes.get_float("epsilon", None)
    matching.only_attributes(
        norm, {"axis": [-1, axes - 1 if axes else -1], "epsilon": [epsilon], "stash_type": [1]}
    )
    check(matching.rank(weight) == 1, f"{matching.named(weight)} is not one factor per channel")
    return addition


def _rewrite(graph: ir.Graph, addition: ir.Node, norm: ir.Node) -> None:
    total, normed = addition.outputs[0], norm.outputs[0]
    unused = [ir.Value(name=""), ir.Value(name="")]  # mean and inverse deviation
    outputs = [matching.take_over(normed), *unused, matching.take_over(total)]
    fused = ir.node(
        "SkipSimplifiedLayerNormalization",
        [*addition.inputs, norm.inputs[1]],
        # the operator has a default of its own, RMSNormalization's is 1e-5
        {"epsilon": norm.attributes.get_float("epsilon", 1e-5)},
        domain=matching.MICROSOFT, name=f"{norm.name}/skip", outputs=outputs,
    )  # fmt: skip
    graph.insert_before(addition, fused)
    matching.replace([normed, total], [outputs[0], outputs[-1]])
    graph.remove([addition, norm], safe=True)
