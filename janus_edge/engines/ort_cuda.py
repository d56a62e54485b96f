"""The target `ort-cuda`: graphs of which ONNX Runtime's CUDA provider runs every node on the GPU.

What has a kernel there, and for which types, is from a copy of ONNX Runtime's docs/OperatorKernels.md
of about 1.31. The standard Attention and TensorScatter stay: they have kernels for float32 and float16, the
cache is written in place, and several new tokens of several rows behind a past are no special case.
GroupQueryAttention has none for float32, takes its longest length from the host, which a CUDA graph
would not see change, and needs an ``If`` for such tokens, which a CUDA graph cannot hold.
"""

from __future__ import annotations

from janus_edge.bundle import Bundle
from janus_edge.engines.lowering import (
    joined_projections,
    primitive_group_norm,
    shapes_on_device,
    skip_norm,
)
from janus_edge.engines.lowering.passes import Pass
from janus_edge.engines.ort_cpu import OrtCpu
from janus_edge.errors import EngineError
from janus_edge.graphs import Graph
from janus_edge.recipe import Recipe

#: The language model's, in order.
LANGUAGE_MODEL = (
    Pass("joined_projections", joined_projections.rewrite, expected=False),
    Pass("shapes_on_device", shapes_on_device.rewrite),
    Pass("skip_norm", skip_norm.rewrite),
)

#: The VQ graphs': there is no kernel for GroupNormalization, and its definition computes with shapes.
VQ = (Pass("group_norm", primitive_group_norm.rewrite),)


class OrtCuda(OrtCpu):
    """Builds for ONNX Runtime's CUDA provider, for any GPU and any shape; needs no GPU."""

    name = "ort-cuda"

    def passes(self, graph: Graph, recipe: Recipe) -> tuple[Pass, ...]:
        """The rewrites of ``graph``, in order; they are the same for every recipe."""
        return {
            Graph.LANGUAGE_MODEL: LANGUAGE_MODEL, Graph.VQ_ENCODER: VQ, Graph.VQ_DECODER: VQ,
        }.get(graph, ())  # fmt: skip

    def check(self, bundle: Bundle) -> None:
        """Raise EngineError for bfloat16 graphs, of which some operators have no CUDA kernel."""
        if bundle.manifest.recipe.float_type == "bfloat16":
            raise EngineError(
                f"{bundle.path}: its graphs are bfloat16, for which ONNX Runtime's CUDA provider has no "
                "Resize, InstanceNormalization or DequantizeLinear; export the bundle with "
                f"--precision fp16 (or fp32) for {self.name}"
            )
