"""Recording a reference trace: one generation and every stage by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tokenizers
import torch
from torch import Tensor

from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.pixels import read_pixels
from janus_edge.export.reference import Reference
from janus_edge.noise import gumbel
from janus_edge.trace_file import SCHEMA_VERSION, ReferenceTrace, TraceMeta


def record_trace(
    checkpoint: Checkpoint,
    image: str | Path,
    prompt: str,
    *,
    steps: int,
    seed: int = 0,
    guidance_scale: float = 5.0,
    temperature: float = 1.0,
    progress: Callable[[int], None] = lambda _step: None,
) -> ReferenceTrace:
    """Run every stage on real inputs and draw ``steps`` codes of one picture of ``prompt``.

    The drawing is the original's loop (`generation_inference.py`) with Gumbel-max noise in place
    of torch's generator. ``progress`` is called after each step with its number.
    """
    reference = Reference(checkpoint)
    codes = torch.randint(
        checkpoint.config.vq.codebook_size,
        (1, checkpoint.config.image_tokens),
        generator=torch.Generator().manual_seed(seed % 2**63),
    )
    pixels = read_pixels(image, checkpoint.config.image_size)
    meta = TraceMeta(
        SCHEMA_VERSION, checkpoint.name, checkpoint.digest(), prompt, seed, guidance_scale,
        temperature,
    )  # fmt: skip
    with _threads_for(checkpoint):
        hidden, logits, drawn = _generation(checkpoint, reference, meta, steps, progress)
    arrays = {
        "vision.pixel_values": pixels,
        "vision.image_embeds": reference.image_embeds(pixels),
        "vq_encoder.pixel_values": pixels,
        "vq_encoder.cosines": reference.vq_cosines(pixels),
        "vq_decoder.image_codes": codes,
        "vq_decoder.pixel_values": reference.vq_pixels(codes),
        "image_embedding.image_codes": codes[0, :64],
        "image_embedding.rows": reference.image_embedding(codes[0, :64]),
        "text_head.hidden_states": hidden[0],
        "text_head.logits": reference.text_logits(hidden[0]),
        "steps.hidden_states": hidden,
        "steps.logits": logits,
        "steps.image_codes": drawn,
    }
    return ReferenceTrace(meta, {name: tensor.numpy() for name, tensor in arrays.items()})


@contextmanager
def _threads_for(checkpoint: Checkpoint) -> Iterator[None]:
    """One thread for a small model: its steps are too short for threads to wait for each other
    (ten times slower with two on two busy cores, measured)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if checkpoint.config.language.hidden_size < 1024 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _generation(
    checkpoint: Checkpoint,
    reference: Reference,
    meta: TraceMeta,
    steps: int,
    progress: Callable[[int], None],
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states [S, 2, H], logits [S, 2, K] and codes [S] of the loop."""
    ids = prompt_ids(checkpoint, meta.prompt)
    special = checkpoint.special_tokens
    unconditional = ids.clone()
    unconditional[1:-1] = special.pad
    embeds = reference.text_embeds(torch.stack([ids, unconditional]))
    hidden_rows, logit_rows, codes = [], [], []
    with reference.language_model() as model:
        for position in range(steps):
            hidden = model.step(embeds)[:, -1]
            logits = model.image_logits(hidden)
            code = _draw(logits, meta, position)
            hidden_rows.append(hidden)
            logit_rows.append(logits)
            codes.append(code)
            embeds = model.image_embedding(torch.tensor([code, code]))[:, None]
            progress(position + 1)
    return torch.stack(hidden_rows), torch.stack(logit_rows), torch.tensor(codes)


def _draw(logits: Tensor, meta: TraceMeta, position: int) -> int:
    """Guidance on [conditional, unconditional], then Gumbel-max (greedy at temperature 0)."""
    cond, uncond = logits
    guided = uncond + meta.guidance_scale * (cond - uncond)
    if meta.temperature == 0:
        return int(guided.argmax())
    noise = torch.from_numpy(gumbel(meta.seed, 0, position, len(guided)))
    return int((guided / meta.temperature + noise).argmax())


def prompt_ids(checkpoint: Checkpoint, prompt: str) -> Tensor:
    """Token ids [S] of a text-to-image prompt, stated independently of the runtime's templates."""
    tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint.tokenizer_path))
    user, assistant = "<|User|>", "<|Assistant|>"
    if tokenizer.token_to_id(user) is None:  # Janus-1.3B
        user, assistant = "User", "Assistant"
    text = f"{user}: {prompt.strip()}\n\n{assistant}:<begin_of_image>"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return torch.tensor([checkpoint.special_tokens.bos, *ids])
