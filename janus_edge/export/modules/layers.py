"""The layers that the graphs are built from.

They are traced, never run: parameters are fake tensors with the right shape and dtype, and the
operators that PyTorch lacks are placed by name (`torch.onnx.ops.symbolic`), so that a graph holds
exactly the ONNX operator meant and not an exporter's expansion of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from janus_edge.graphs import OPSET


def onnx_op(name: str, inputs: Sequence[Tensor | None], like: Tensor, **attributes: Any) -> Tensor:
    """Place one ONNX operator whose output has the shape and dtype of ``like``."""
    return symbolic(
        name, inputs, dict(attributes), dtype=like.dtype, shape=like.shape, version=OPSET
    )


class Linear(nn.Module):
    """A linear layer with its weight stored [in, out], as MatMul wants it.

    The checkpoint stores [out, in]; the exporter transposes while it streams, so that no backend
    has to keep or fold a Transpose of a large weight.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:  # x: [..., in] -> [..., out]
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis (computed in float32: stash_type 1)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return onnx_op("RMSNormalization", (x, self.weight), x, axis=-1, epsilon=self.eps)


class GroupNorm(nn.Module):
    """Group norm of [N, C, H, W] (computed in float32: stash_type 1)."""

    def __init__(self, channels: int, groups: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.groups, self.eps = groups, eps

    def forward(self, x: Tensor) -> Tensor:
        inputs = (x, self.weight, self.bias)
        return onnx_op("GroupNormalization", inputs, x, num_groups=self.groups, epsilon=self.eps)


class MLP(nn.Module):
    """``fc1``, then ``depth - 1`` times GELU and a hidden layer: Janus' aligners."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.fc1 = Linear(inputs, outputs)
        self.hidden_layers = nn.ModuleList(Linear(outputs, outputs) for _ in range(1, depth))

    def forward(self, x: Tensor) -> Tensor:  # x: [..., in] -> [..., out]
        x = self.fc1(x)
        for layer in self.hidden_layers:
            x = layer(nn.functional.gelu(x))
        return x


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, S, heads * D] -> [B, heads, S, D]."""
    batch, tokens, size = x.shape
    return x.reshape(batch, tokens, heads, size // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, heads, S, D] -> [B, S, heads * D]."""
    batch, heads, tokens, size = x.shape
    return x.transpose(1, 2).reshape(batch, tokens, heads * size)
