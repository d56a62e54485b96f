"""A backend without a model: each graph is a few lines of numpy on the buffers bound to it.

The language model counts in whole numbers, so that results are equal or wrong, never close: the
hidden state of a position is a hash of the row's own inputs up to there and of where they stand,
read back from the cache. A wrong length, a pad that is seen, a row given to another row, or a
buffer that was copied instead of written in place changes everything that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from janus_edge.config import JanusConfig, LanguageConfig, SpecialTokens, VisionConfig, VQConfig
from janus_edge.export.synthetic_tokenizer import build_tokenizer
from janus_edge.graphs import Graph, signature
from janus_edge.recipe import RECIPES
from janus_edge.runtime.pipeline import Janus

Array = np.ndarray[Any, Any]
Buffers = Mapping[str, Array]

#: Hidden states and embeddings are whole numbers below this, which float16 and float32 hold.
MODULUS = 1021

CONFIG = JanusConfig(
    vision=VisionConfig(8, 1, 1, 8, image_size=16, patch_size=4),
    vq=VQConfig(23, 2, 32, (1, 1, 1), res_blocks=1, latent_channels=4),
    language=LanguageConfig(6, 2, 3, 3, 8, vocab_size=300, max_positions=1024),
    image_head_size=6,
)
SPECIAL = SpecialTokens(*range(256, 262))


class FakeSession:
    """Runs ``function(inputs, outputs)``; ``binds`` and ``runs`` count what was asked of it."""

    def __init__(self, graph: Graph, function: Callable[[Buffers, Buffers], None]) -> None:
        self.graph, self.binds, self.runs = graph, 0, 0
        self.last: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
        self._function = function

    def bind(self, inputs: Buffers, outputs: Buffers) -> Callable[[], None]:
        ports = signature(self.graph, CONFIG)
        assert [*inputs] == [p.name for p in ports.inputs]
        assert [*outputs] == [p.name for p in ports.outputs]
        assert all(a.flags.c_contiguous for a in (*inputs.values(), *outputs.values()))
        self.binds += 1
        self.last = dict(inputs), dict(outputs)

        def call() -> None:
            self.runs += 1
            self._function(inputs, outputs)

        return call


class FakeBackend:
    """All graphs; ``script`` makes the text head say these tokens, one at each call."""

    def __init__(self, dtype: Any = np.float32) -> None:
        self.float_dtype = np.dtype(dtype)
        self.script: list[int] = []
        self.closed = False
        functions = {
            Graph.VISION_ENCODER: _vision_encoder,
            Graph.LANGUAGE_MODEL: _language_model,
            Graph.TEXT_HEAD: self._text_head,
            Graph.IMAGE_HEAD: _image_head,
            Graph.IMAGE_EMBEDDING: _image_embedding,
            Graph.GUIDED_SAMPLER: _guided_sampler,
        }
        self.sessions = {graph: FakeSession(graph, f) for graph, f in functions.items()}

    def session(self, graph: Graph) -> FakeSession:
        return self.sessions[graph]

    def close(self) -> None:
        self.closed = True

    def _text_head(self, inputs: Buffers, outputs: Buffers) -> None:
        outputs["logits"][:] = logits(inputs["hidden_states"], CONFIG.language.vocab_size)
        if self.script:
            outputs["logits"][0, self.script.pop(0)] = 10_000


def hidden_of(row: Array) -> Array:
    """The law of the fake: embeddings [S, H] of one row from position 0 -> hidden [S, H]."""
    x = row.astype(np.int64)
    weights = (np.arange(len(x)) * 37 + 11)[:, None]
    return (
        np.cumsum(x * weights * (x + 5), 0) % MODULUS * (np.arange(len(x)) + 1)[:, None]
    ) % MODULUS


def logits(hidden: Array, size: int) -> Array:
    """Hidden [N, H] -> logits [N, size] between -1.5 and 1.5, another mix for each entry."""
    mix = (np.arange(hidden.shape[1])[:, None] * 7 + 3) * (np.arange(size) * 13 + 1)
    return (hidden.astype(np.int64) @ mix % MODULUS / MODULUS * 3 - 1.5).astype(np.float32)


def code_embeddings(codes: Array) -> Array:
    """Codes [P] -> embeddings [P, H]."""
    return (codes[:, None] * 31 + np.arange(CONFIG.language.hidden_size) * 17 + 400) % MODULUS


def embedding_table() -> Array:
    """Token embeddings [V, H] float32, whole numbers that bfloat16 holds too."""
    lm = CONFIG.language
    ids = np.arange(lm.vocab_size)[:, None]
    return ((ids * 7 + np.arange(lm.hidden_size) * 5) % 251).astype(np.float32)


def _language_model(inputs: Buffers, outputs: Buffers) -> None:
    past, present = list(inputs.values())[2:], list(outputs.values())[2:]
    for before, after in zip(past, present, strict=True):
        after[:] = before  # nothing where both are one buffer
    new = inputs["inputs_embeds"]  # [B, S, H]
    for b, length in enumerate(inputs["past_lengths"].tolist()):
        end = length + new.shape[1]
        assert end <= present[0].shape[2], "a row runs out of its cache"
        heads = new[b].reshape(new.shape[1], *present[0].shape[1::2]).swapaxes(0, 1)
        for scale, buffer in enumerate(present, 1):
            buffer[b, :, length:end] = heads * scale
        # every buffer is read: the row is their common value, or rubbish where they disagree
        seen = [
            buffer[b, :, :end].swapaxes(0, 1).reshape(end, -1).astype(np.int64) // scale
            for scale, buffer in enumerate(present, 1)
        ]
        agreed = np.where(np.ptp(seen, 0) == 0, seen[0], 999)
        outputs["hidden_states"][b] = hidden_of(agreed)[length:end]
        outputs["lengths"][b] = end


def _vision_encoder(inputs: Buffers, outputs: Buffers) -> None:
    flat = np.rint((inputs["pixel_values"].astype(np.float64) + 1) * 500).astype(np.int64)
    sums = flat.reshape(len(flat), -1).sum(1)[:, None, None]
    shape = outputs["image_embeds"].shape
    outputs["image_embeds"][:] = (sums + np.arange(np.prod(shape[1:])).reshape(shape[1:])) % MODULUS


def _image_head(inputs: Buffers, outputs: Buffers) -> None:
    outputs["logits"][:] = logits(inputs["hidden_states"], CONFIG.vq.codebook_size)


def _image_embedding(inputs: Buffers, outputs: Buffers) -> None:
    outputs["inputs_embeds"][:, 0] = np.tile(code_embeddings(inputs["image_codes"]), (2, 1))


def _guided_sampler(inputs: Buffers, outputs: Buffers) -> None:
    cond, uncond = np.split(inputs["logits"].astype(np.float32), 2)
    guided = uncond + inputs["guidance_scale"] * (cond - uncond)
    noisy = guided / inputs["temperature"] + inputs["noise"]
    outputs["image_codes"][:] = noisy.argmax(-1)


def fake_janus(folder: Path, backend: FakeBackend) -> Janus:
    """`Janus` on the fake backend, with a real tokenizer and a table of whole numbers."""
    folder.mkdir(exist_ok=True)
    build_tokenizer(CONFIG.language.vocab_size).save(str(folder / "tokenizer.json"))
    return Janus(fake_bundle(folder, embedding_table(), "float32"), backend)  # type: ignore[arg-type]


def fake_bundle(folder: Path, table: Array, dtype: str) -> Any:
    """As much of a bundle as the runtime looks at: the table and the manifest's fields for it."""
    (folder / "table.bin").write_bytes(table.tobytes())
    entry = SimpleNamespace(file="table.bin", dtype=dtype, shape=table.shape)
    manifest = SimpleNamespace(
        config=CONFIG,
        special_tokens=SPECIAL,
        recipe=RECIPES["fp32"],
        tokenizer="tokenizer.json",
        text_embeddings=entry,
    )
    return SimpleNamespace(
        manifest=manifest, file=lambda name: folder / name, graph_bytes=lambda graph: 0
    )
