"""`vq_encoder`: a picture to the codes of its patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_edge.config import VQConfig
from janus_edge.export.modules.vq_blocks import Level, MiddleBlock, norm, swish


class Downsample(nn.Module):
    """Halves the resolution; pads below and to the right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.pad(x, (0, 1, 0, 1)))


class DownLevel(Level):
    """A level and the step to the next lower resolution."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, last: bool) -> None:
        super().__init__(inputs, outputs, blocks, attention=last)
        self.downsample = None if last else Downsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.downsample is None else self.downsample(x)


class Encoder(nn.Module):
    """Pixels [N, 3, I, I] -> latents [N, Z, h, w]."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        channels = [config.base_channels * m for m in (1, *config.channel_multiplier)]
        levels = len(config.channel_multiplier)
        self.conv_in = nn.Conv2d(3, config.base_channels, 3, padding=1)
        self.down = nn.ModuleList(
            DownLevel(channels[i], channels[i + 1], config.res_blocks, last=i == levels - 1)
            for i in range(levels)
        )
        self.mid = MiddleBlock(channels[-1])
        self.norm_out = norm(channels[-1])
        self.conv_out = nn.Conv2d(channels[-1], config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(swish(self.norm_out(self.mid(x))))


class VQEncoder(nn.Module):
    """Pixels in [-1, 1] [N, 3, I, I] -> codes [N, T].

    The original normalises latents and codebook to unit length before it looks for the nearest
    entry, so the code is the argmax of the cosine. A latent's own length does not change which
    entry that is; only the codebook is normalised, once, at export. The search is in float32
    whatever the precision of the graph.
    """

    prefix = "model.vqmodel."

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv2d(config.latent_channels, config.codebook_dim, 1)
        self.codebook = nn.Parameter(
            torch.empty(config.codebook_dim, config.codebook_size, dtype=torch.float32)
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        latents = self.quant_conv(self.encoder(pixel_values)).flatten(2).transpose(1, 2)
        return (latents.float() @ self.codebook).argmax(-1)
