"""The target `ort-cuda`: graphs of which ONNX Runtime's CUDA provider runs every node on the GPU.

What has a kernel there is from the kernels that onnxruntime-gpu 1.31.1 registers
(`tests/unit/engines/ort_cuda_kernels.json`). The standard Attention and TensorScatter stay: they have
kernels for float32 and float16, the cache is written in place, and several new tokens of several rows
behind a past are no special case. GroupQueryAttention has none for float32, takes its longest length
from the host, which a CUDA graph would not see change, and needs an ``If`` for such tokens, which a
CUDA graph cannot hold.

The VQ graphs get an older opset. A kernel that is registered without an end serves only the version
of the operator that it begins with, and InstanceNormalization's begins with 6: it does not serve
opset 22's, and ONNX Runtime would take those nodes to the CPU.

Weights in blocks become MatMulNBits there, too. Inputs in 8 bits (`int8`) are no gain: there is no
product of integers for Q/DQ pairs, so values are rounded as asked for, and multiplied as floats.
"""

from __future__ import annotations

from janus_edge.engines.lowering import (
    joined_projections,
    lower_opset,
    primitive_attention,
    primitive_group_norm,
    shapes_on_device,
    skip_norm,
)
from janus_edge.engines.lowering.passes import Pass
from janus_edge.engines.ort_cpu import OrtCpu
from janus_edge.graphs import Graph
from janus_edge.recipe import Recipe

#: The language model's, in order.
LANGUAGE_MODEL = (
    Pass("joined_projections", joined_projections.rewrite, expected=False),
    Pass("shapes_on_device", shapes_on_device.rewrite),
    Pass("skip_norm", skip_norm.rewrite),
)

#: The VQ graphs'. There is no kernel for GroupNormalization, and its definition computes with shapes;
#: Attention is younger than the opset that InstanceNormalization needs.
VQ = (
    Pass("group_norm", primitive_group_norm.rewrite),
    Pass("primitive_attention", primitive_attention.rewrite),
    Pass("lower_opset", lower_opset.rewrite),
)


class OrtCuda(OrtCpu):
    """Builds for ONNX Runtime's CUDA provider, for any GPU and any shape; needs no GPU."""

    name = "ort-cuda"

    def passes(self, graph: Graph, recipe: Recipe) -> tuple[Pass, ...]:
        """The rewrites of ``graph``, in order; they are the same for every recipe."""
        return {
            Graph.LANGUAGE_MODEL: LANGUAGE_MODEL, Graph.VQ_ENCODER: VQ, Graph.VQ_DECODER: VQ,
        }.get(graph, ())  # fmt: skip
