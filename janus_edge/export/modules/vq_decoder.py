"""`vq_decoder`: codes to a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_edge.config import JanusConfig, VQConfig
from janus_edge.export.modules.vq_blocks import Level, MiddleBlock, norm, swish


class Upsample(nn.Module):
    """Doubles the resolution by repetition, then convolves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class UpLevel(Level):
    """A level and the step to the next higher resolution."""

    def __init__(
        self, inputs: int, outputs: int, blocks: int, *, attention: bool, last: bool
    ) -> None:
        super().__init__(inputs, outputs, blocks, attention=attention)
        self.upsample = None if last else Upsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.upsample is None else self.upsample(x)


class Decoder(nn.Module):
    """Latents [N, Z, h, w] -> pixels [N, 3, I, I]."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        channels = [config.base_channels * m for m in reversed(config.channel_multiplier)]
        levels = len(channels)
        self.conv_in = nn.Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.mid = MiddleBlock(channels[0])
        self.up = nn.ModuleList(
            UpLevel(
                channels[max(i - 1, 0)],
                channels[i],
                config.res_blocks + 1,
                attention=i == 0,
                last=i == levels - 1,
            )
            for i in range(levels)
        )
        self.norm_out = norm(channels[-1])
        self.conv_out = nn.Conv2d(channels[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in self.up:
            x = level(x)
        return self.conv_out(swish(self.norm_out(x)))


class VQDecoder(nn.Module):
    """Codes [N, T] -> pixels around [-1, 1] [N, 3, I, I]; the codebook is of unit length."""

    prefix = "model.vqmodel."

    def __init__(self, config: JanusConfig) -> None:
        super().__init__()
        vq, self.grid = config.vq, config.vision.grid
        self.codebook = nn.Parameter(torch.empty(vq.codebook_size, vq.codebook_dim))
        self.post_quant_conv = nn.Conv2d(vq.codebook_dim, vq.latent_channels, 1)
        self.decoder = Decoder(vq)

    def forward(self, image_codes: Tensor) -> Tensor:
        rows = nn.functional.embedding(image_codes, self.codebook)  # [N, T, D]
        latents = rows.transpose(1, 2).reshape(rows.shape[0], rows.shape[2], self.grid, self.grid)
        return self.decoder(self.post_quant_conv(latents))
