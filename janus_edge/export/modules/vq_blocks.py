"""The convolutional blocks that the VQ encoder and decoder share (VQGAN's)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_edge.config import VQConfig
from janus_edge.export.modules.layers import GroupNorm, onnx_op


def norm(channels: int) -> GroupNorm:
    """The group norm that all VQ blocks use."""
    return GroupNorm(channels, VQConfig.NORM_GROUPS, VQConfig.NORM_EPS)


def swish(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return x * torch.sigmoid(x)


class ResnetBlock(nn.Module):
    """Two 3 x 3 convolutions behind norm and swish, and a 1 x 1 shortcut where channels change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(swish(self.norm1(x)))
        y = self.conv2(swish(self.norm2(y)))
        return y + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:  # [N, C, h, w]
        y = self.norm(x)
        # one head of size C: [N, C, h, w] -> [N, 1, h*w, C]
        q, k, v = (p(y).flatten(2).transpose(1, 2).unsqueeze(1) for p in (self.q, self.k, self.v))
        y = onnx_op("Attention", (q, k, v), q)
        return x + self.proj_out(y.squeeze(1).transpose(1, 2).reshape(x.shape))


class MiddleBlock(nn.Module):
    """Resnet, attention, resnet at the lowest resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttentionBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Level(nn.Module):
    """The blocks of one resolution; attention follows each block at the lowest."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, attention: bool) -> None:
        super().__init__()
        sizes = [inputs] + [outputs] * (blocks - 1)
        self.block = nn.ModuleList(ResnetBlock(size, outputs) for size in sizes)
        self.attn = nn.ModuleList(AttentionBlock(outputs) for _ in sizes if attention)

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[index](x)
        return x
