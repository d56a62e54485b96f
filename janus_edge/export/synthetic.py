"""Checkpoints with random weights: the real formats at any size, without a download.

A weight depends on (seed, canonical name) alone, so both formats of one seed hold the same model.
The scales keep activations near 1 through all layers and give the heads logits of real spread.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import torch
from torch import Tensor

from janus_edge.config import JanusConfig, LanguageConfig, VisionConfig, VQConfig
from janus_edge.export.synthetic_config import config_json, generation_config_json
from janus_edge.export.synthetic_tokenizer import build_tokenizer, special_tokens
from janus_edge.export.weight_files import SAFETENSORS_DTYPES
from janus_edge.export.weight_names import Format, Place, Shape, expected_shapes, places

_SIGLIP_LARGE = VisionConfig(1024, 24, 16, 4096, image_size=384, patch_size=16)
_VQ_16 = VQConfig(16384, 8, 128, (1, 1, 2, 2, 4), res_blocks=2, latent_channels=256)

#: 'tiny' for tests (seconds), the others with the published dimensions.
DIMENSIONS = {
    "tiny": JanusConfig(
        vision=VisionConfig(48, 2, 3, 192, image_size=32, patch_size=8),
        vq=VQConfig(128, 8, 32, (1, 1, 2, 2), res_blocks=1, latent_channels=64),
        language=LanguageConfig(64, 2, 4, 4, 176, vocab_size=512, max_positions=1024),
        image_head_size=64,
    ),
    "1b": JanusConfig(
        vision=_SIGLIP_LARGE,
        vq=_VQ_16,
        language=LanguageConfig(2048, 24, 16, 16, 5632, vocab_size=102400, max_positions=16384),
        image_head_size=2048,
    ),
    "7b": JanusConfig(
        vision=_SIGLIP_LARGE,
        vq=_VQ_16,
        language=LanguageConfig(4096, 30, 32, 32, 11008, vocab_size=102400, max_positions=16384),
        image_head_size=4096,
    ),
}

#: Pattern of the canonical name -> mean, and either the standard deviation itself or, negated, a
#: gain over 1 / sqrt(fan-in); the first that matches the whole name counts.
_SCALES = (
    (re.compile(r".*norm\w*\.weight"), 1.0, 0.05),
    (re.compile(r".*\.bias"), 0.0, 0.02),
    (re.compile(r".*(embed_tokens|generation_embeddings|quantize\.embedding)\.weight"), 0.0, 1.0),
    (re.compile(r".*position_embedding\.weight"), 0.0, 0.5),
    (re.compile(r".*generation_head\.vision_head\.weight"), 0.0, -3.0),
    (re.compile(r"lm_head\.weight"), 0.0, -2.0),
    # a code's entry has length 1, not values of size 1
    (re.compile(r".*\.post_quant_conv\.weight"), 0.0, -math.sqrt(8)),
    # behind GELU, which halves the spread, so that images weigh as much as words
    (re.compile(r".*aligner\.hidden_layers\.\d+\.weight"), 0.0, -1.7),
    (re.compile(r".*"), 0.0, -1.0),
)
_CHUNK = 1 << 22


def write_synthetic_checkpoint(
    folder: str | Path,
    config: JanusConfig,
    *,
    format: Format = "transformers",
    weights: Literal["safetensors", "bin"] = "safetensors",
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    shard_bytes: int = 1 << 30,
) -> Path:
    """Write a checkpoint with random weights into ``folder`` (made if need be), and return it.

    One file if all weights fit into ``shard_bytes``, else shards with an index. Needs memory for
    one tensor ('safetensors') or one shard ('bin'). Raises InputError if the format cannot state
    ``config`` or the vocabulary is too small for the tokenizer.
    """
    folder = Path(folder)
    tokens = special_tokens(config.language.vocab_size)
    described = config_json(config, tokens, format, str(dtype).removeprefix("torch."))
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", described)
    _write_json(folder / "generation_config.json", generation_config_json(tokens))
    build_tokenizer(config.language.vocab_size).save(str(folder / "tokenizer.json"))
    stored = _stored(config, format)
    shards = list(_shards(stored, dtype, shard_bytes))
    stem = "model" if weights == "safetensors" else "pytorch_model"
    write = _write_safetensors if weights == "safetensors" else _write_bin
    index: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        part = f"-{number:05d}-of-{len(shards):05d}" if len(shards) > 1 else ""
        path = folder / f"{stem}{part}.{weights}"
        write(path, {name: stored[name] for name in names}, dtype, seed)
        index.update(dict.fromkeys(names, path.name))
    if len(shards) > 1:
        total = sum(s.nbytes(dtype) for s in stored.values())
        _write_json(
            folder / f"{stem}.{weights}.index.json",
            {"metadata": {"total_size": total}, "weight_map": index},
        )
    return folder


def draw_weight(name: str, shape: Shape, dtype: torch.dtype, seed: int) -> Tensor:
    """The random weight with the canonical ``name``: the same for the same name and ``seed``."""
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little"))
    mean, spread = next((mean, s) for pattern, mean, s in _SCALES if pattern.fullmatch(name))
    std = spread if spread >= 0 else -spread / math.sqrt(math.prod(shape[1:]))
    tensor = torch.empty(shape, dtype=dtype)
    for chunk in torch.split(tensor.view(-1), _CHUNK):  # float32 values of a part at a time
        chunk.copy_(torch.empty(chunk.shape).normal_(mean, std, generator=generator))
    return tensor


class _Stored:
    """One tensor of a file: its shape, and the weights whose rows lie in it one after another."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.parts: list[tuple[str, Shape]] = []

    def nbytes(self, dtype: torch.dtype) -> int:
        return math.prod(self.shape) * dtype.itemsize

    def draw(self, dtype: torch.dtype, seed: int) -> Tensor:
        drawn = [draw_weight(name, shape, dtype, seed) for name, shape in self.parts]
        return (torch.cat(drawn) if len(drawn) > 1 else drawn[0]).reshape(self.shape)


def _stored(config: JanusConfig, file_format: Format) -> dict[str, _Stored]:
    shapes, stored = expected_shapes(config), dict[str, _Stored]()

    def first_row(item: tuple[str, Place]) -> int:
        return item[1].rows[0] if item[1].rows else 0

    for name, place in sorted(places(config, file_format).items(), key=first_row):
        stored.setdefault(place.name, _Stored(place.shape)).parts.append((name, shapes[name]))
    return stored


def _shards(stored: dict[str, _Stored], dtype: torch.dtype, limit: int) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, tensor in stored.items():
        if names and size + tensor.nbytes(dtype) > limit:
            yield names
            names, size = [], 0
        names.append(name)
        size += tensor.nbytes(dtype)
    yield names


def _write_safetensors(
    path: Path, stored: dict[str, _Stored], dtype: torch.dtype, seed: int
) -> None:
    # The library's writer wants all tensors at once; the format itself can be written as a stream.
    kind = next(name for name, d in SAFETENSORS_DTYPES.items() if d == dtype)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in stored.items():
        start, end = end, end + tensor.nbytes(dtype)
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        _stream(file, (tensor.draw(dtype, seed) for tensor in stored.values()))


def _stream(file: BinaryIO, tensors: Iterable[Tensor]) -> None:
    for tensor in tensors:
        file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)


def _write_bin(path: Path, stored: dict[str, _Stored], dtype: torch.dtype, seed: int) -> None:
    torch.save({name: tensor.draw(dtype, seed) for name, tensor in stored.items()}, path)


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
