"""The shipped checkpoint as a torch model to go on training, and the way back."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from miniature import janus
from safetensors.torch import load_file, save_file
from train_vq import Codec
from transformers import JanusForConditionalGeneration

from janus_edge.atomic_file import written_aside
from janus_edge.runtime.prompts import Tokenizer

SHIPPED = Path(__file__).parents[1] / "janus_edge" / "miniature"


def tokenizer_of(folder: Path = SHIPPED) -> Tokenizer:
    """The tokenizer beside a checkpoint."""
    return Tokenizer.from_file(folder / "tokenizer.json")


def model_of(folder: Path = SHIPPED) -> JanusForConditionalGeneration:
    """The model of a checkpoint in float32; the VQ model and the vision encoder do not learn."""
    model = janus(tokenizer_of(folder).special)
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: weight.float() for name, weight in weights.items()})
    model.model.vqmodel.requires_grad_(False)
    model.model.vision_model.requires_grad_(False)
    return model.eval()


def codec_of(model: JanusForConditionalGeneration) -> Codec:
    """The VQ model of a Janus as stage 1 has it."""
    codec = Codec()
    codec.vq.load_state_dict(model.model.vqmodel.state_dict())
    return codec.eval()


def save(model: JanusForConditionalGeneration, origin: Path, target: Path) -> None:
    """Write ``model`` in float16 to ``target``, with the other files of the checkpoint ``origin``."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        shutil.copyfile(origin / name, target / name)
    weights = {name: weight.to(torch.float16) for name, weight in model.state_dict().items()}
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise OverflowError("a weight overflows float16")
    with written_aside(target / "model.safetensors") as aside:
        save_file(weights, aside, metadata={"format": "pt"})
