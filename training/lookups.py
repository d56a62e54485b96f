"""One attention head per direction that is told where to look.

Without it a small model never began to look things up: asked 'what colour is the ring?' it named
the colours of both objects with equal probability, and 'a red square and a blue star' was to it a
bag of words, after 5000 steps and with the loss still falling. Which word or which patches a
position should read is known when scenes are drawn, so one head's attention is trained on it
directly (cross entropy of the attention's mass); what it reads, the other losses make use of.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb


class Lookup:
    """Watches the input of an attention layer, so that a head's attention can be trained."""

    def __init__(self, attention: nn.Module, head: int) -> None:
        self._attention, self._head = attention, head
        self._seen: tuple[Tensor, tuple[Tensor, Tensor]] | None = None
        attention.register_forward_pre_hook(self._watch, with_kwargs=True)

    def _watch(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        states = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        self._seen = states, kwargs["position_embeddings"]

    def loss(self, wanted: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Mean of -log(attention on what is wanted) of the last call, over queries that want any.

        ``wanted`` bool [B, S, S] (query, key); ``allowed`` bool [B, S, S] of what may be attended,
        what came before if None. Rows of the call beyond B are left out.
        """
        assert self._seen is not None, "the layer has not run"
        states, (cosine, sine) = self._seen
        rows, layer = len(wanted), self._attention
        shape = (rows, states.shape[1], -1, layer.head_dim)
        query, key = (
            project(states[:rows]).view(shape)[:, :, self._head : self._head + 1].transpose(1, 2)
            for project in (layer.q_proj, layer.k_proj)
        )
        angles = [a[:rows] if len(a) > 1 else a for a in (cosine, sine)]
        query, key = apply_rotary_pos_emb(query, key, *angles)
        scores = (query @ key.transpose(2, 3))[:, 0] * layer.scaling
        if allowed is None:
            allowed = torch.ones(scores.shape[1:], dtype=torch.bool).tril()
        mass = scores.masked_fill(~allowed, -torch.inf).log_softmax(-1)
        asked = wanted.any(-1)
        told = mass[asked].masked_fill(~wanted[asked], -torch.inf).logsumexp(-1)
        return -told.mean()
