"""The target `tensorrt-10.3` (JetPack 6): graphs lowered to opset-20 primitives, then built."""

from __future__ import annotations

import onnx_ir as ir

from janus_edge.engines.lowering import (
    appended_attention,
    joined_projections,
    lower_opset,
    primitive_attention,
    primitive_group_norm,
    primitive_norm,
    primitive_rotary,
    wide_norms,
)
from janus_edge.engines.lowering.passes import Pass
from janus_edge.engines.lowering.tensorrt_10_3_operators import check
from janus_edge.engines.tensorrt.api import TensorRT
from janus_edge.engines.tensorrt_target import TensorRTTarget
from janus_edge.errors import LoweringError
from janus_edge.graphs import Graph

_NORM = Pass("primitive_norm", primitive_norm.rewrite)
_ROTARY = Pass("primitive_rotary", primitive_rotary.rewrite)
_APPENDED = Pass("appended_attention", appended_attention.rewrite)
_ATTENTION = Pass("primitive_attention", primitive_attention.rewrite)
_GROUP_NORM = Pass("primitive_group_norm", primitive_group_norm.rewrite)
_WIDE = Pass("wide_norms", wide_norms.rewrite, expected=False)  # float32 needs no change
_JOIN = Pass("joined_projections", joined_projections.rewrite, expected=False)
_OPSET = Pass("lower_opset", lower_opset.rewrite)

#: What each graph needs, in order; each of them must find something to change. Nothing is folded:
#: TensorRT does that itself.
PASSES = {
    **dict.fromkeys(Graph, (_OPSET,)),
    Graph.LANGUAGE_MODEL: (_NORM, _ROTARY, _APPENDED, _JOIN, _OPSET),
    Graph.VISION_ENCODER: (_WIDE, _ATTENTION, _JOIN, _OPSET),
    Graph.VQ_ENCODER: (_WIDE, _GROUP_NORM, _ATTENTION, _OPSET),
    Graph.VQ_DECODER: (_WIDE, _GROUP_NORM, _ATTENTION, _OPSET),
}

#: Problems that an error tells in full.
_SHOWN = 3


class TensorRT103(TensorRTTarget):
    """As its base, for parsers that know operators up to opset 20 only; later ones know them too."""

    def _check_version(self, tensorrt: TensorRT) -> None:
        """Every version takes what is left after the passes."""

    def _passes(self, graph: Graph) -> tuple[Pass, ...]:
        return PASSES[graph]

    def _check_lowered(self, graph: Graph, model: ir.Model) -> None:
        problems = check(model)
        if problems:
            more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise LoweringError(
                f"{graph.value}: TensorRT 10.3 does not take it ({'; '.join(problems[:_SHOWN])}{more}); "
                "build from a bundle of another recipe"
            )
