"""Stage 4: teacher forcing on what prompts ask for, and on claims.

    python training/teach.py work/miniature [--steps 400]

Continues from the shipped checkpoint (``--start``), or from its own state, and writes
taught.state.pt, taught.log.jsonl and, at the end, the checkpoint taught/ there. The optimiser of
stage 3 was not kept, so this one warms up for 40 steps. The probes of stage 3 are gone, too: losses
are those on codes, on guided codes, on answers, and of the two heads that look things up.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from checkpoint import SHIPPED, codec_of, model_of, save, tokenizer_of
from lessons import lesson_askings, lesson_paintings
from muon import Muon
from patch_codes import PatchCodes
from run import Run
from torch import nn
from train_model import Miniature
from train_vision import matrices
from workers import share_gradients, start

_PAINTED, _PAIRED, _ASKED = 16, 8, 6  # pictures per step, over all processes
_UNCONDITIONAL, _GUIDED, _SOURCES = 0.3, 0.6, 0.1
_ASKED_SOURCES = 0.3


def _work(rank: int, processes: int, folder: Path, origin: Path, steps: int, rate: float) -> None:
    torch.manual_seed(1)
    tokenizer = tokenizer_of(origin)
    model = Miniature(tokenizer.special)
    model.janus.load_state_dict(model_of(origin).state_dict())
    for probe in (model.probe, model.name_probe):
        probe.requires_grad_(False)
    codes = PatchCodes.load(folder, codec_of(model.janus))
    inner, others = matrices(model)
    optimizer = Muon(inner, others, rate=rate, adam_rate=rate / 7, decay=0.05)
    run = Run(folder, "taught", model, optimizer, steps, first=rank == 0)
    for step in run:
        part = step * processes + rank
        sizes = _PAINTED // processes, _PAIRED // processes
        losses = model.painting_loss(lesson_paintings(codes, tokenizer, part, *sizes))
        painting, unconditional, guided, _, _, sources = losses
        optimizer.zero_grad()
        total = painting + _UNCONDITIONAL * unconditional + _GUIDED * guided + _SOURCES * sources
        total.backward()
        asked = lesson_askings(tokenizer, part, _ASKED // processes)
        asking, right, looking = model.asking_loss(asked)
        (asking + _ASKED_SOURCES * looking).backward()
        share_gradients(inner + others, 1 / processes)
        norm = nn.utils.clip_grad_norm_(inner + others, 1.0)
        optimizer.step()
        run.note(
            painting=painting.item(), unconditional=unconditional.item(), guided=guided.item(),
            sources=sources.item(), asking=asking.item(), right=right.item(), norm=norm.item(),
        )  # fmt: skip
    if rank == 0:
        save(model.janus, origin, folder / "taught")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start", type=Path, default=SHIPPED, help="checkpoint to begin with")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate of Muon")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    start(_work, given.processes, given.folder, given.start, given.steps, given.rate)
