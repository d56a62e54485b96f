"""Stage 2: the vision encoder, in place of SigLIP's pre-training.

    python training/train_vision.py work/miniature [--steps 600]

Reads the drawn scenes, writes vision.state.pt and vision.log.jsonl there. A linear probe, which no
later stage keeps, foretells from each patch's features what the patch shows: the shape, the colour,
whether an object's centre is there. Without this the language model sees features that say nothing,
and hardly teaches them more. The position embeddings start as sines of rows and columns (Vaswani et
al. 2017, in two dimensions), so that neighbours need not be found out first; then they are learnt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from batches import patch_labels
from dataset import Scenes
from miniature import CONFIG, vision_model
from muon import Muon
from run import Run
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from train_vq import to_pixels

from janus_edge.shapes.scene import COLOURS, SHAPES

_LABELS = (len(SHAPES) + 1, len(COLOURS) + 1, 2)
_BATCH = 32


class Probed(nn.Module):
    """The vision encoder, before the aligner, and the probe on it."""

    def __init__(self) -> None:
        super().__init__()
        self.vision = vision_model()
        with torch.no_grad():
            places = self.vision.embeddings.position_embedding.weight
            places.copy_(0.5 * sines(CONFIG.vision.grid, places.shape[1]))
            patches = self.vision.embeddings.patch_embedding.weight
            patches.normal_(0, patches[0].numel() ** -0.5)  # the library's start is 7 times less
        self.probe = nn.Linear(CONFIG.vision.hidden_size, sum(_LABELS))

    def loss(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Of pixels [N, 3, 64, 64] and labels int64 [N, 256, 3]; and the share of shapes found."""
        seen = self.vision(pixels).last_hidden_state
        parts = self.probe(seen).flatten(0, 1).split(_LABELS, -1)
        wanted = labels.flatten(0, 1)
        there = wanted[:, 0] > 0
        right = (parts[0][there].argmax(-1) == wanted[there, 0]).float().mean()
        losses = [cross_entropy(part, wanted[:, i]) for i, part in enumerate(parts)]
        return torch.stack(losses).sum(), right


def sines(grid: int, width: int) -> Tensor:
    """Sines and cosines of row and column [grid * grid, width], of wavelengths from 6 patches up."""
    rates = torch.exp(torch.linspace(0, -3, width // 4))
    angles = torch.arange(grid)[:, None] * rates
    along = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = along[:, None].expand(-1, grid, -1), along[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)


def matrices(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The weights for Muon (those between layers), and the others.

    Not the aligners: grown by Muon, a constant drowns in them what the patches differ in.
    """
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    edge = ("embed", "aligner", "lm_head", "vision_head", "probe")
    inner = {n for n, p in named if p.ndim == 2 and not any(e in n for e in edge)}
    return [p for n, p in named if n in inner], [p for n, p in named if n not in inner]


def train(folder: Path, steps: int, rate: float, threads: int) -> None:
    """Run stage 2 to its end."""
    torch.set_num_threads(threads)
    torch.manual_seed(2)
    scenes = Scenes(folder)
    model = Probed()
    inner, others = matrices(model)
    optimizer = Muon(inner, others, rate=rate, adam_rate=rate / 7)
    run = Run(folder, "vision", model, optimizer, steps)
    for step in run:
        rng = np.random.default_rng([31, step])
        chosen = np.sort(rng.integers(0, len(scenes), _BATCH))
        labels = np.stack([patch_labels(scenes.scene(int(i))) for i in chosen])
        loss, right = model.loss(to_pixels(scenes.pictures[chosen]), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(inner + others, 1.0)
        optimizer.step()
        run.note(loss=loss.item(), shapes=right.item())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rate", type=float, default=2e-2, help="peak learning rate of Muon")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    train(given.folder, given.steps, given.rate, given.threads)
