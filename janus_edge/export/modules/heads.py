"""`text_head` and `image_head`: hidden states to logits."""

from __future__ import annotations

from torch import Tensor, nn

from janus_edge.config import JanusConfig
from janus_edge.export.modules.layers import Linear


class TextHead(nn.Module):
    """Hidden states [N, H] -> logits over the vocabulary [N, V]."""

    prefix = ""

    def __init__(self, config: JanusConfig) -> None:
        super().__init__()
        self.lm_head = Linear(config.language.hidden_size, config.language.vocab_size, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.lm_head(hidden_states)


class ImageHead(nn.Module):
    """Hidden states [N, H] -> logits over the codebook [N, K]."""

    prefix = "model.generation_head."

    def __init__(self, config: JanusConfig) -> None:
        super().__init__()
        self.proj_out = Linear(config.language.hidden_size, config.image_head_size)
        self.vision_head = Linear(config.image_head_size, config.vq.codebook_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.vision_head(nn.functional.gelu(self.proj_out(hidden_states)))
