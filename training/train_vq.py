"""Stage 1: the VQ encoder, codebook and decoder.

    python training/train_vq.py work/miniature [--steps 1600]

Reads the pictures that dataset.py drew, writes vq.state.pt, vq.log.jsonl and vq.sheet.png there.

Reconstruction (L1 + squared error), with the codebook as an exponential moving average of the
latents it is nearest to (van den Oord et al. 2017, appendix A.1) on the unit sphere, as the
original Janus code looks codes up (by cosine). Most steps see crops of 32 pixels, which cost a
quarter; the last part sees whole pictures, whose normalisation statistics are the ones of use.

The start matters more than anything after it: with torch's own random weights the biases drown the
picture, and 200 steps later the model still paints the mean; see :func:`start`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from dataset import HELD_OUT, Scenes, scene
from miniature import vq_model
from muon import Muon
from PIL import Image
from run import Run
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from janus_edge.shapes.drawing import draw

_WHOLE = 0.85  # from this share of the steps on, whole pictures
_FREE = 150  # steps before codes are used: the latents find their places first
_COMMIT = 0.25
_DECAY = 0.99
_REVIVE = 50  # every so many steps, codes hardly used are put onto latents of the batch
_CROP = 32


class Codec(nn.Module):
    """The VQ model with the statistics its codebook is averaged from."""

    def __init__(self) -> None:
        super().__init__()
        self.vq = vq_model()
        codes, width = self.vq.quantize.embedding.weight.shape
        self.vq.quantize.embedding.weight.requires_grad_(False)
        self.register_buffer("used", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, width))

    def latents(self, pixels: Tensor) -> Tensor:
        """Pixels [N, 3, I, I] -> unit latents [N, I/4, I/4, 8]."""
        return normalize(self.vq.quant_conv(self.vq.encoder(pixels)).permute(0, 2, 3, 1), dim=-1)

    def codes(self, latents: Tensor) -> Tensor:
        """The code with the largest cosine [N, h, w]."""
        return (latents @ normalize(self.vq.quantize.embedding.weight, dim=-1).T).argmax(-1)

    def pixels(self, latents: Tensor) -> Tensor:
        """Latents [N, h, w, 8] -> pixels [N, 3, 4h, 4w]."""
        return self.vq.decoder(self.vq.post_quant_conv(latents.permute(0, 3, 1, 2)))

    def entries(self, codes: Tensor) -> Tensor:
        """Unit entries of codes [..., 8]."""
        return normalize(self.vq.quantize.embedding.weight, dim=-1)[codes]

    @torch.no_grad()
    def average(self, latents: Tensor, codes: Tensor, step: int, rng: torch.Generator) -> None:
        """Move the codebook towards the latents of this batch."""
        flat, where = latents.detach().flatten(0, 2), codes.flatten()
        table = self.vq.quantize.embedding.weight
        self.used.mul_(_DECAY).index_add_(0, where, torch.full(where.shape, 1 - _DECAY))
        self.sums.mul_(_DECAY).index_add_(0, where, flat * (1 - _DECAY))
        if step % _REVIVE == 0:
            share = 0.03 * self.used.sum() / len(self.used)
            dead = (self.used < share).nonzero()[:, 0]
            chosen = flat[torch.randint(len(flat), (len(dead),), generator=rng)]
            self.used[dead], self.sums[dead] = 2 * share, 2 * share * chosen
        table.copy_(normalize(self.sums, dim=-1))

    @torch.no_grad()
    def place_codes(self, latents: Tensor, rng: torch.Generator) -> None:
        """Put every code onto a latent of this batch."""
        flat = latents.flatten(0, 2)
        chosen = flat[torch.randint(len(flat), (len(self.used),), generator=rng)]
        self.used.fill_(1e-3)
        self.sums.copy_(chosen * 1e-3)
        self.vq.quantize.embedding.weight.copy_(chosen)


def start(codec: Codec) -> None:
    """Weights that let a picture through: no biases, residual blocks that add nothing yet.

    Convolutions keep the variance, those behind an enlargement also the places.
    """
    for name, module in codec.vq.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        nn.init.normal_(module.weight, 0, module.weight[0].numel() ** -0.5)
        nn.init.zeros_(module.bias)
        if ".upsample." in name:
            with torch.no_grad():
                centre = nn.init.orthogonal_(torch.empty(module.weight.shape[:2]))
                module.weight.mul_(0.1)[:, :, 1, 1] += centre
        if name.endswith((".conv2", ".proj_out")):
            nn.init.zeros_(module.weight)


def matrices(codec: Codec) -> tuple[list[Tensor], list[Tensor]]:
    """The weights for Muon, and the others: norms, biases, the first and the last layers."""
    named = [(n, p) for n, p in codec.named_parameters() if p.requires_grad]
    edge = ("encoder.conv_in", "decoder.conv_out")
    inner = {n for n, p in named if p.ndim > 1 and not any(e in n for e in edge)}
    return [p for n, p in named if n in inner], [p for n, p in named if n not in inner]


def to_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 [N, I, I, 3] -> float32 [N, 3, I, I] in -1 to 1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2) / 127.5 - 1


def batch(scenes: Scenes, step: int, size: int, whole: bool) -> Tensor:
    """The pictures, or crops around one object of each, of a step."""
    rng = np.random.default_rng([11, step])
    chosen = rng.integers(0, len(scenes), size)
    pictures = scenes.pictures[np.sort(chosen)]
    if whole:
        return to_pixels(pictures)
    crops = []
    for picture, index in zip(pictures, np.sort(chosen), strict=True):
        item = rng.choice(np.array([(i.x, i.y) for i in scenes.scene(int(index)).items]))
        corner = item + rng.integers(-12, 13, 2) - _CROP // 2
        x, y = np.clip(corner, 0, 64 - _CROP) // 2 * 2
        crops.append(picture[y : y + _CROP, x : x + _CROP])
    return to_pixels(np.stack(crops))


def train(folder: Path, steps: int, rate: float, threads: int) -> Codec:
    """Run stage 1 to its end."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    scenes = Scenes(folder)
    codec = Codec()
    start(codec)
    inner, others = matrices(codec)
    optimizer = Muon(inner, others, rate=rate, adam_rate=rate / 10)
    run = Run(folder, "vq", codec, optimizer, steps)
    for step in run:
        whole = step >= _WHOLE * steps
        pixels = batch(scenes, step, 6 if whole else 16, whole)
        rng = torch.Generator().manual_seed(step)
        latents = codec.latents(pixels)
        loss_commit = torch.zeros(())
        seen = latents
        if step == _FREE:
            codec.place_codes(latents, rng)
        if step >= _FREE:
            codes = codec.codes(latents.detach())
            entries = codec.entries(codes)
            loss_commit = mse_loss(latents, entries) * latents.shape[-1]
            seen = latents + (entries - latents).detach()
            codec.average(latents, codes, step, rng)
        painted = codec.pixels(seen)
        error = painted - pixels
        squared = error.square().mean()
        loss = error.abs().mean() + squared + _COMMIT * loss_commit
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(inner + others, 1.0)
        optimizer.step()
        run.note(
            loss=loss.item(),
            psnr=10 * np.log10(4 / squared.item()),
            commit=loss_commit.item(),
            used=(codec.used > 0.1 * codec.used.mean()).float().mean().item(),
        )
        if (step + 1) % 500 == 0 or step + 1 == steps:
            sheet(codec, folder / "vq.sheet.png")
    return codec


@torch.inference_mode()
def sheet(codec: Codec, path: Path, count: int = 24) -> float:
    """Held-out pictures above their reconstructions; returns the PSNR in decibels."""
    codec.eval()
    pictures = np.stack([draw(scene(HELD_OUT + i)) for i in range(count)])
    pixels = to_pixels(pictures)
    painted = codec.pixels(codec.entries(codec.codes(codec.latents(pixels)))).clamp(-1, 1)
    codec.train()
    values = ((painted + 1) * 127.5).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    half = count // 2
    rows = [x for i in (0, half) for x in (pictures[i : i + half], values[i : i + half])]
    image = np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)
    Image.fromarray(image).resize((image.shape[1] * 2, image.shape[0] * 2), 0).save(path)
    psnr = 10 * np.log10(4 / (painted - pixels).square().mean().item())
    print(f"held-out PSNR {psnr:.2f} dB, {path.name} written", flush=True)
    return psnr


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--rate", type=float, default=2e-2, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    train(given.folder, given.steps, given.rate, given.threads)
