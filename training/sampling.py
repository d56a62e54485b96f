"""Painting with the torch model during training: a sheet of pictures and how many are right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from train_vq import Codec
from transformers import DynamicCache, JanusForConditionalGeneration

from janus_edge.noise import gumbel_rows
from janus_edge.runtime.prompts import Tokenizer, text_to_image_ids, unconditional_ids
from janus_edge.shapes.prompts import CATEGORIES, fault, prompts
from janus_edge.shapes.reader import read

_EACH = 8


@torch.inference_mode()
def paint(
    model: JanusForConditionalGeneration,
    codec: Codec,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    guidance: float = 5.0,
    seed: int = 0,
) -> np.ndarray:
    """A picture per text, uint8 [n, 64, 64, 3], with the runtime's guidance and noise."""
    inner = model.model
    rows = [text_to_image_ids(tokenizer, text) for text in texts]
    rows += [unconditional_ids(row, tokenizer.special) for row in rows]
    longest = max(map(len, rows))
    pad = [longest - len(row) for row in rows]  # on the left, hidden by the mask
    ids = torch.tensor([[0] * n + row for n, row in zip(pad, rows, strict=True)])
    tokens = codec.vq.quantize.embedding.weight.shape[0]
    count = inner.config.vision_config.num_image_tokens
    seen = torch.ones(len(rows), longest + count, dtype=torch.bool)
    for row, n in zip(seen, pad, strict=True):
        row[:n] = False
    place = (seen.long().cumsum(1) - 1).clamp(min=0)
    cache, embeds, done = DynamicCache(), inner.language_model.embed_tokens(ids), 0
    codes: list[Tensor] = []
    seeds = [seed] * len(texts)
    for step in range(count):
        stop = done + embeds.shape[1]
        causal = torch.tril(torch.ones(stop, stop, dtype=torch.bool))[done:stop]
        mask = causal[None, None] & seen[:, None, None, :stop]
        mask = (
            mask | torch.eye(stop, dtype=torch.bool)[done:stop]
        )  # a row of nothing is not a number
        hidden = inner.language_model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=place[:, done:stop],
            past_key_values=cache, use_cache=True,
        ).last_hidden_state[:, -1]  # fmt: skip
        given, free = inner.generation_head(hidden).chunk(2)
        noise = torch.from_numpy(gumbel_rows(seeds, range(len(texts)), step, tokens))
        codes.append((free + guidance * (given - free) + noise).argmax(-1))
        embeds = inner.generation_aligner(inner.generation_embeddings(codes[-1].repeat(2)))[:, None]
        done = stop
    side = int(count**0.5)
    painted = codec.pixels(codec.entries(torch.stack(codes, 1).view(-1, side, side)))
    values = ((painted.clamp(-1, 1) + 1) * 127.5).to(torch.uint8)
    return values.permute(0, 2, 3, 1).numpy()


def sample_sheet(
    model: JanusForConditionalGeneration, codec: Codec, tokenizer: Tokenizer, path: Path
) -> None:
    """Eight pictures of each category in a row, and the share of right ones on the terminal."""
    model.eval()
    asked = [p for category in CATEGORIES for p in prompts(category, _EACH, seed=99)]
    pictures = paint(model, codec, tokenizer, [p.text for p in asked])
    model.train()
    right = np.array([fault(p, read(x)) is None for p, x in zip(asked, pictures, strict=True)])
    shares = right.reshape(-1, _EACH).mean(1)
    print(
        "right:",
        ", ".join(f"{c} {s:.0%}" for c, s in zip(CATEGORIES, shares, strict=True)),
        flush=True,
    )
    grid = pictures.reshape(-1, _EACH, *pictures.shape[1:])
    image = np.concatenate([np.concatenate(list(row), 1) for row in grid], 0)
    Image.fromarray(image).resize((image.shape[1] * 2, image.shape[0] * 2), 0).save(path)
