"""Stage 2: vision encoder, language model and heads, in both directions at once.

    python training/train_model.py work/miniature [--steps 3000]

Reads the drawn scenes and vq.state.pt, writes codes.npy, tokenizer.json, model.state.pt,
model.log.jsonl and model.sheet.png there. ``finish.py`` then writes the checkpoint.

Each step trains on prompts with the codes of their pictures (the loss is on the codes; one prompt
in ten is made unconditional as the runtime makes it) and on pictures with questions (the loss is on
the answers). A linear probe on the vision encoder, dropped afterwards, foretells what each patch
shows: it stands in for SigLIP's pre-training.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from batches import Asking, Painting, askings, paintings
from dataset import Scenes
from miniature import CONFIG, janus
from muon import Muon
from run import Run
from sampling import sample_sheet
from text import write_tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from train_vq import Codec, to_pixels

from janus_edge.atomic_file import written_aside
from janus_edge.config import SpecialTokens
from janus_edge.shapes.scene import COLOURS, SHAPES

_PROBE = (len(SHAPES) + 1, len(COLOURS) + 1, 2)
_PAINTED, _ASKED = 32, 8  # pictures per step in each direction


class Miniature(nn.Module):
    """transformers' Janus with the probe of its vision encoder; the VQ model stays as it is."""

    def __init__(self, tokens: SpecialTokens) -> None:
        super().__init__()
        self.janus = janus(tokens)
        self.janus.model.vqmodel.requires_grad_(False)
        self.probe = nn.Linear(CONFIG.vision.hidden_size, sum(_PROBE))
        self.placeholder = tokens.image_placeholder

    def painting_loss(self, batch: Painting) -> Tensor:
        """Mean cross entropy of the codes, in nats."""
        inner = self.janus.model
        embeds = inner.language_model.embed_tokens(batch.ids)
        painted = batch.codes >= 0
        embeds[painted] = inner.generation_aligner(
            inner.generation_embeddings(batch.codes[painted])
        )
        hidden = inner.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        wanted = batch.targets >= 0
        return cross_entropy(inner.generation_head(hidden[wanted]), batch.targets[wanted])

    def asking_loss(self, batch: Asking) -> tuple[Tensor, Tensor, Tensor]:
        """Cross entropy of the answers' tokens, the share that is right, and the probe's loss."""
        inner = self.janus.model
        seen = inner.vision_model(batch.pixels).last_hidden_state
        parts = self.probe(seen).flatten(0, 1).split(_PROBE, -1)
        labels = batch.patches.flatten(0, 1)
        probe = sum(cross_entropy(part, labels[:, i]) for i, part in enumerate(parts))
        embeds = inner.language_model.embed_tokens(batch.ids)
        embeds[batch.ids == self.placeholder] = inner.aligner(seen).flatten(0, 1)
        hidden = inner.language_model(
            inputs_embeds=embeds,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            use_cache=False,
        ).last_hidden_state
        wanted = batch.targets >= 0
        logits, targets = self.janus.lm_head(hidden[wanted]), batch.targets[wanted]
        right = (logits.argmax(-1) == targets).float().mean()
        return cross_entropy(logits, targets), right, probe


def matrices(model: Miniature) -> tuple[list[Tensor], list[Tensor]]:
    """The weights for Muon (those between layers), and the others."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    edge = ("embed", "lm_head", "vision_head", "probe")
    inner = {n for n, p in named if p.ndim == 2 and not any(e in n for e in edge)}
    return [p for n, p in named if n in inner], [p for n, p in named if n not in inner]


def codes_of(folder: Path, scenes: Scenes, codec: Codec, count: int) -> np.ndarray:
    """Codes uint16 [count, 256] of the first pictures, made once and kept in codes.npy."""
    path = folder / "codes.npy"
    if path.exists() and len(np.load(path, mmap_mode="r")) >= count:
        return np.load(path)[:count]
    started, parts = time.monotonic(), []
    with torch.inference_mode():
        for start in range(0, count, 64):
            pixels = to_pixels(scenes.pictures[start : min(start + 64, count)])
            parts.append(codec.codes(codec.latents(pixels)).flatten(1).numpy().astype(np.uint16))
            if start % 6400 == 0:
                print(f"codes of {start} pictures, {time.monotonic() - started:.0f} s", flush=True)
    with written_aside(path) as aside, open(aside, "wb") as file:
        np.save(file, np.concatenate(parts))
    return np.load(path)


def train(folder: Path, steps: int, rate: float, threads: int, count: int) -> None:
    """Run stage 2 to its end."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    scenes = Scenes(folder)
    codec = Codec()
    codec.load_state_dict(torch.load(folder / "vq.state.pt", weights_only=True)["model"])
    codes = codes_of(folder, scenes, codec.eval(), min(count, len(scenes)))
    tokenizer = write_tokenizer(folder)
    model = Miniature(tokenizer.special)
    model.janus.model.vqmodel.load_state_dict(codec.vq.state_dict())
    inner, others = matrices(model)
    optimizer = Muon(inner, others, rate=rate, adam_rate=rate / 7)
    run = Run(folder, "model", model, optimizer, steps)
    for step in run:
        painting = model.painting_loss(paintings(scenes, codes, tokenizer, step, _PAINTED))
        optimizer.zero_grad()
        painting.backward()
        asking, right, probe = model.asking_loss(askings(scenes, tokenizer, step, _ASKED))
        (asking + 0.3 * probe).backward()
        nn.utils.clip_grad_norm_(inner + others, 1.0)
        optimizer.step()
        run.note(
            painting=painting.item(), asking=asking.item(), right=right.item(), probe=probe.item()
        )
        if (step + 1) % 250 == 0 or step + 1 == steps:
            sample_sheet(model.janus, codec, tokenizer, folder / "model.sheet.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=2e-2, help="peak learning rate of Muon")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=40_000, help="pictures to learn to paint")
    given = parser.parse_args()
    train(given.folder, given.steps, given.rate, given.threads, given.pictures)
