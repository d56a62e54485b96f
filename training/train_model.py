"""Stage 3: aligners, language model and heads, in both directions at once.

    python training/train_model.py work/miniature [--steps 3000]

Reads the drawn scenes, vq.state.pt and vision.state.pt, writes codes.npy, tokenizer.json,
model.state.pt, model.log.jsonl and model.sheet.png there. ``finish.py`` then writes the checkpoint.

Each step trains on prompts with the codes of their pictures (the loss is on the codes; half of the
prompts come a second time, unconditional as the runtime makes it) and on pictures with questions
(the loss is on the answers). The VQ model and the vision encoder stay as they are: until the answers
depend on the picture, which takes some hundred steps, their gradients are noise, and Muon makes full
steps of noise. Two processes of one thread that share their gradients need three quarters of the time
of one process with two threads.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from batches import Asking, Painting, askings, paintings
from codes import codes_of
from dataset import Scenes
from lookups import Lookup
from miniature import CONFIG, janus
from muon import Muon
from naming import LABELS as NAMES
from run import Run
from sampling import sample_sheet
from text import write_tokenizer
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.functional import cross_entropy
from train_vision import Probed, matrices
from train_vq import Codec

from janus_edge.config import SpecialTokens
from janus_edge.runtime.prompts import Tokenizer
from janus_edge.shapes.scene import COLOURS, SHAPES

_PAINTED, _ASKED = 16, 8  # pictures per step in each direction
_PAIRED = 8  # of the painted ones: also without their prompt, for guidance
_LOSSES = ("painting", "unconditional", "guided", "probing", "naming", "sources")
_WEIGHTS = (1.0, 0.3, 0.3, 0.3, 0.3, 0.1)
_ASKED_SOURCES = 0.3  # weight of the same loss for questions
_NAMED = 3  # layers after which a noun's hidden state tells what it names; later ones can read it
_LOOKS = len(SHAPES) * len(COLOURS)


class Miniature(nn.Module):
    """transformers' Janus with the losses of both directions; the encoders stay as they are."""

    def __init__(self, tokens: SpecialTokens) -> None:
        super().__init__()
        self.janus = janus(tokens)
        self.janus.model.vqmodel.requires_grad_(False)
        self.janus.model.vision_model.requires_grad_(False)
        self.placeholder = tokens.image_placeholder
        self.probe = nn.Linear(CONFIG.language.hidden_size, _LOOKS)
        self.name_probe = nn.Linear(CONFIG.language.hidden_size, sum(NAMES))
        layers = self.janus.model.language_model.layers
        self.nouns = Lookup(layers[_NAMED].self_attn, 0)
        self.patches = Lookup(layers[_NAMED + 1].self_attn, 0)

    def painting_loss(self, batch: Painting) -> tuple[Tensor, ...]:
        """Mean cross entropy in nats of the codes with their prompt, without it, guided; of the probes.

        The guided logits are those that the runtime samples from, at the pair's own scale. A small
        model's logits of codes that never come next are hardly learnt; guidance multiplies what
        they differ by, and at 5 a wrong code came up in every picture.

        The probe foretells from the hidden state before a patch which shape in which colour the
        patch will show. Where an object begins only the prompt tells, and that counts most. It tells
        the pair: of shape and colour apart, nothing is wrong with a red square and a blue star for
        'a blue square and a red star', and that is what was painted. Another foretells from half-way
        through the model at each noun of the prompt what it names; the last loss is of the head
        that looks such nouns up (`lookups.py`).
        """
        inner = self.janus.model
        embeds = inner.language_model.embed_tokens(batch.ids)
        painted = batch.codes >= 0
        embeds[painted] = inner.generation_aligner(
            inner.generation_embeddings(batch.codes[painted])
        )
        states = inner.language_model(
            inputs_embeds=embeds, use_cache=False, output_hidden_states=True
        )
        hidden = states.last_hidden_state
        wanted, prompts = batch.targets >= 0, len(batch.labels)
        count = CONFIG.image_tokens
        hidden = hidden[wanted].view(len(wanted), count, -1)
        targets = batch.targets[wanted].view(len(wanted), count)
        logits = inner.generation_head(hidden)
        codes = _mean_loss(logits[:prompts], targets[:prompts])
        free, pairs = logits[prompts:], len(batch.scales)
        scales = batch.scales[:, None, None]
        guided = _mean_loss(free + scales * (logits[:pairs] - free), targets[:pairs])
        unconditional = _mean_loss(free, targets[prompts:])
        labels, fresh = batch.labels.flatten(0, 1), batch.fresh.flatten()
        there = labels[:, 0] > 0
        weights = torch.where(fresh[there], 1.0, 0.3)
        looks = (labels[there, 0] - 1) * len(COLOURS) + labels[there, 1] - 1
        told = cross_entropy(
            self.probe(hidden[:prompts].flatten(0, 1)[there]), looks, reduction="none"
        )
        probing = (weights * told).sum() / weights.sum()
        named = batch.names[..., 0] >= 0
        names = self.name_probe(states.hidden_states[_NAMED][:prompts][named]).split(NAMES, -1)
        naming = torch.stack(
            [cross_entropy(n, batch.names[named][:, i]) for i, n in enumerate(names)]
        ).sum()
        sources = self.nouns.loss(batch.sources)
        return codes, unconditional, guided, probing, naming, sources

    def asking_loss(self, batch: Asking) -> tuple[Tensor, Tensor, Tensor]:
        """Mean cross entropy of the answers' tokens, the share that is right, the head's loss."""
        inner = self.janus.model
        seen = inner.vision_model(batch.pixels).last_hidden_state
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
        sources = self.patches.loss(batch.sources, batch.mask[:, 0])
        return cross_entropy(logits, targets), right, sources


def _mean_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """Mean cross entropy in nats of logits [n, 256, K] and codes [n, 256]."""
    return cross_entropy(logits.flatten(0, 1), codes.flatten())


def start(model: Miniature) -> None:
    """Words, patches and codes reach the language model at about the same size."""
    inner = model.janus.model
    nn.init.normal_(inner.language_model.embed_tokens.weight, 0, 0.4)
    for aligner in (inner.aligner, inner.generation_aligner):
        for layer in aligner.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0, layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)


def train(folder: Path, steps: int, rate: float, processes: int, count: int) -> None:
    """Run stage 3 to its end in so many processes of one thread each."""
    torch.set_num_threads(processes)
    scenes = Scenes(folder)
    codes_of(folder, scenes, _codec(folder), min(count, len(scenes)))
    write_tokenizer(folder)
    with tempfile.TemporaryDirectory() as meeting:
        work = (processes, f"file://{meeting}/point", folder, steps, rate)
        multiprocessing.spawn(_work, work, nprocs=processes)


def _work(rank: int, processes: int, meeting: str, folder: Path, steps: int, rate: float) -> None:
    """One process' share of every step."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    scenes, codes = Scenes(folder), np.load(folder / "codes.npy")
    tokenizer, codec = Tokenizer.from_file(folder / "tokenizer.json"), _codec(folder)
    model = Miniature(tokenizer.special)
    model.janus.model.vqmodel.load_state_dict(codec.vq.state_dict())
    probed = Probed()
    probed.load_state_dict(torch.load(folder / "vision.state.pt", weights_only=True)["model"])
    model.janus.model.vision_model.load_state_dict(probed.vision.state_dict())
    start(model)
    inner, others = matrices(model)
    optimizer = Muon(inner, others, rate=rate, adam_rate=rate / 7, decay=0.05)
    run = Run(folder, "model", model, optimizer, steps, first=rank == 0)
    for step in run:
        part = step * processes + rank
        sizes = _PAINTED // processes, _PAIRED // processes
        losses = model.painting_loss(paintings(scenes, codes, tokenizer, part, *sizes))
        optimizer.zero_grad()
        sum(weight * loss for weight, loss in zip(_WEIGHTS, losses, strict=True)).backward()
        asked = askings(scenes, tokenizer, part, _ASKED // processes)
        asking, right, looking = model.asking_loss(asked)
        (asking + _ASKED_SOURCES * looking).backward()
        _share([p.grad for p in (*inner, *others) if p.grad is not None], processes)
        nn.utils.clip_grad_norm_(inner + others, 1.0)
        optimizer.step()
        run.note(
            **{name: loss.item() for name, loss in zip(_LOSSES, losses, strict=True)},
            asking=asking.item(), right=right.item(), looking=looking.item(),
        )  # fmt: skip
        if rank == 0 and ((step + 1) % 250 == 0 or step + 1 == steps):
            sample_sheet(model.janus, codec, tokenizer, folder / "model.sheet.png")
    distributed.destroy_process_group()


def _share(gradients: list[Tensor], processes: int) -> None:
    """Replace each gradient by its mean over the processes."""
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= processes
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _codec(folder: Path) -> Codec:
    codec = Codec()
    codec.load_state_dict(torch.load(folder / "vq.state.pt", weights_only=True)["model"])
    return codec.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=2e-2, help="peak learning rate of Muon")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--pictures", type=int, default=36_000, help="pictures to learn to paint")
    given = parser.parse_args()
    train(given.folder, given.steps, given.rate, given.processes, given.pictures)
