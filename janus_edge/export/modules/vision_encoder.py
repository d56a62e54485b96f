"""`vision_encoder`: SigLIP (all blocks and the final norm) and the aligner behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_edge.config import JanusConfig, VisionConfig
from janus_edge.export.modules.layers import MLP, Linear, merge_heads, onnx_op, split_heads


class Embeddings(nn.Module):
    """Patches and learned positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        size, patch = config.hidden_size, config.patch_size
        self.patch_embedding = nn.Conv2d(3, size, patch, stride=patch)
        self.position_embedding = nn.Embedding(config.grid**2, size)

    def forward(self, pixel_values: Tensor) -> Tensor:  # [N, 3, I, I] -> [N, T, E]
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        return patches + self.position_embedding.weight


class Attention(nn.Module):
    """Full self-attention over the patches."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        size, self.heads = config.hidden_size, config.heads
        self.q_proj, self.k_proj = Linear(size, size), Linear(size, size)
        self.v_proj, self.projection_layer = Linear(size, size), Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:  # [N, T, E]
        q, k, v = (split_heads(p(x), self.heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.projection_layer(merge_heads(onnx_op("Attention", (q, k, v), q)))


class FeedForward(nn.Module):
    """Two linear layers around GELU."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each behind a norm and added to the residual stream."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.self_attn = Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class VisionModel(nn.Module):
    """Embeddings, encoder and final norm; the attention-pooling head is not part of Janus."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.post_layernorm(self.encoder(self.embeddings(pixel_values)))


class VisionEncoder(nn.Module):
    """Pixels [N, 3, I, I] -> embeddings [N, T, H] in the language model's space."""

    prefix = "model."

    def __init__(self, config: JanusConfig) -> None:
        super().__init__()
        self.vision_model = VisionModel(config.vision)
        hidden = config.language.hidden_size
        self.aligner = MLP(config.vision.hidden_size, hidden, config.vision.aligner_depth)

    def forward(self, pixel_values: Tensor) -> Tensor:
        embeddings: torch.Tensor = self.aligner(self.vision_model(pixel_values))
        return embeddings
