"""The work that every peer is given: the same numbers from the same seeds, for one checkpoint's sizes.

Needs numpy alone, so that every environment can import it.

    step       language model at two rows around position 300, image head, guidance, argmax: a loop of
               steps over given codes, whose mean position is 300
    prefill    language model on 620 embeddings in one row, an empty cache before it
    vision     one picture through the vision encoder and its aligner
    vq         576 codes through the VQ decoder
    picture    a prompt of 18 tokens in two rows, 576 steps with sampling, VQ decoder
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ITEMS = ("step", "prefill", "vision", "vq", "picture")

#: Mean position of the measured steps, and tokens of a question with a picture.
POSITION, PREFILL, PROMPT = 300, 620, 18
#: A whole picture behind a prompt of 64 tokens: what caches of a fixed size are made for.
CAPACITY = 640
GUIDANCE = 5.0


@dataclass(frozen=True)
class Work:
    """Sizes of a checkpoint in transformers' format, and inputs made for them."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    epsilon: float
    rope_theta: float
    image_size: int
    image_tokens: int
    codebook: int
    vocabulary: int
    special: dict[str, int]
    steps: int

    @classmethod
    def of(cls, checkpoint: Path, steps: int) -> Work:
        data = json.loads(Path(checkpoint, "config.json").read_text("utf-8"))
        text, vision, vq = data["text_config"], data["vision_config"], data["vq_config"]
        generation = json.loads(Path(checkpoint, "generation_config.json").read_text("utf-8"))
        return cls(
            hidden=text["hidden_size"],
            layers=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            kv_heads=text["num_key_value_heads"],
            intermediate=text["intermediate_size"],
            epsilon=text["rms_norm_eps"],
            rope_theta=text["rope_parameters"]["rope_theta"],
            image_size=vision["image_size"],
            image_tokens=vision["num_image_tokens"],
            codebook=vq["num_embeddings"],
            vocabulary=text["vocab_size"],
            special={
                "bos": text["bos_token_id"],
                "pad": text["pad_token_id"],
                "image_start": generation["generation_kwargs"]["boi_token_id"],
            },
            steps=steps,
        )

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    @property
    def first(self) -> int:
        """Tokens in the cache before the first step; the steps' mean position is POSITION."""
        return POSITION - self.steps // 2

    def step_prompt(self) -> NDArray[Any]:
        """[2, first, H] float32: what stands in the two rows' cache before the steps."""
        return self._embeddings(1, (2, self.first))

    def step_codes(self) -> NDArray[np.int64]:
        """[steps]: the code that each step starts from, whatever was drawn before."""
        return np.random.default_rng(2).integers(self.codebook, size=self.steps)

    def prefill(self) -> NDArray[Any]:
        """[1, 620, H] float32."""
        return self._embeddings(3, (1, PREFILL))

    def pixels(self) -> NDArray[Any]:
        """[1, 3, I, I] float32 from -1 to 1."""
        shape = (1, 3, self.image_size, self.image_size)
        return np.random.default_rng(4).uniform(-1, 1, shape).astype(np.float32)

    def picture_codes(self) -> NDArray[np.int64]:
        """[1, T]."""
        return np.random.default_rng(5).integers(self.codebook, size=(1, self.image_tokens))

    def prompt_ids(self) -> NDArray[np.int64]:
        """[18]: begin, words, start of the picture."""
        words = np.random.default_rng(6).integers(100, min(self.vocabulary, 50000), PROMPT - 2)
        return np.array([self.special["bos"], *words, self.special["image_start"]])

    def prompt(self) -> NDArray[Any]:
        """[2, 18, H] float32: embeddings for loops that take no ids, as much work as these."""
        return self._embeddings(7, (2, PROMPT))

    def _embeddings(self, seed: int, shape: tuple[int, int]) -> NDArray[Any]:
        """As far apart as the token embeddings of a synthetic checkpoint."""
        return np.random.default_rng(seed).standard_normal((*shape, self.hidden), np.float32)


def guided(logits: NDArray[Any]) -> int:
    """The code that two rows' logits [2, K] agree on under guidance."""
    conditional, unconditional = logits
    return int((unconditional + GUIDANCE * (conditional - unconditional)).argmax())


def sampled(logits: NDArray[Any], generator: np.random.Generator) -> int:
    """A code drawn from two rows' guided logits [2, K], by Gumbel-max."""
    conditional, unconditional = logits.astype(np.float32)
    noise = -np.log(generator.standard_exponential(conditional.shape, np.float32))
    return int((unconditional + GUIDANCE * (conditional - unconditional) + noise).argmax())
