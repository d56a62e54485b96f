"""`language_model`: the Llama decoder with a KV cache that is updated in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_edge.config import LanguageConfig
from janus_edge.export.modules.layers import Linear, RMSNorm, merge_heads, onnx_op, split_heads


class Attention(nn.Module):
    """Self-attention that appends to, and then attends to, the cache."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads
        kv_size = config.kv_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, config.hidden_size, bias=False)
        self.k_proj = Linear(config.hidden_size, kv_size, bias=False)
        self.v_proj = Linear(config.hidden_size, kv_size, bias=False)
        self.o_proj = Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self,
        x: Tensor,  # [B, S, H]
        past: tuple[Tensor, Tensor],  # two of [B, kv_heads, C, D]
        rotary: tuple[Tensor, Tensor, Tensor],  # cos and sin [positions, D/2], positions [B, S]
        past_lengths: Tensor,  # [B]
        lengths: Tensor,  # [B]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q = split_heads(self.q_proj(x), self.heads)
        k = split_heads(self.k_proj(x), self.kv_heads)
        v = split_heads(self.v_proj(x), self.kv_heads)
        q = onnx_op("RotaryEmbedding", (q, *rotary), q)
        k = onnx_op("RotaryEmbedding", (k, *rotary), k)
        keys = onnx_op("TensorScatter", (past[0], k, past_lengths), past[0], axis=2)
        values = onnx_op("TensorScatter", (past[1], v, past_lengths), past[1], axis=2)
        # With nonpad_kv_seqlen, ONNX aligns the causal mask to the bottom right: row b's last
        # query sees `lengths[b]` keys, the one before it one less, and pads are never seen.
        inputs = (q, keys, values, None, None, None, lengths)
        y = onnx_op("Attention", inputs, q, is_causal=1)
        return self.o_proj(merge_heads(y)), (keys, values)


class GatedMLP(nn.Module):
    """Llama's feed-forward layer: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate_proj(x)
        return self.down_proj(gate * torch.sigmoid(gate) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each behind a norm and added to the residual stream."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = GatedMLP(config)

    def forward(
        self,
        x: Tensor,
        past: tuple[Tensor, Tensor],
        rotary: tuple[Tensor, Tensor, Tensor],
        past_lengths: Tensor,
        lengths: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, present = self.self_attn(self.input_layernorm(x), past, rotary, past_lengths, lengths)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), present


class LanguageModel(nn.Module):
    """All decoder layers and the final norm, on embeddings; one graph for every phase.

    Row b's S new tokens stand at positions ``past_lengths[b]`` and up. Rows of different lengths
    are padded on the right: the caller passes each row's true length as the next
    ``past_lengths``, so a pad is never attended and is overwritten by what comes next.
    """

    prefix = "model.language_model."

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        table = (config.max_positions, config.head_dim // 2)
        self.rotary_cos = nn.Parameter(torch.empty(table))
        self.rotary_sin = nn.Parameter(torch.empty(table))

    def forward(
        self, inputs_embeds: Tensor, past_lengths: Tensor, *caches: Tensor
    ) -> tuple[Tensor, ...]:
        new = inputs_embeds.shape[1]
        positions = past_lengths[:, None] + torch.arange(new, device=inputs_embeds.device)
        rotary = (self.rotary_cos, self.rotary_sin, positions)
        lengths = past_lengths + new
        x, presents = inputs_embeds, []
        for index, layer in enumerate(self.layers):
            past = (caches[2 * index], caches[2 * index + 1])
            x, present = layer(x, past, rotary, past_lengths, lengths)
            presents += present
        return (self.norm(x), lengths, *presents)


def rotary_tables(config: LanguageConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines [max_positions, head_dim / 2], float32, computed as Llama does."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    inverse_frequencies = 1.0 / (config.rope_theta**exponents)
    angles = torch.arange(config.max_positions).float()[:, None] * inverse_frequencies[None]
    return angles.cos(), angles.sin()
