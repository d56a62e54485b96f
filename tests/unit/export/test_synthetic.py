"""Synthetic checkpoints: loadable by transformers, with sane values, and repeatable."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers

from janus_edge.config import SPECIAL_TOKEN_STRINGS
from janus_edge.errors import InputError
from janus_edge.export.checkpoint import Checkpoint
from janus_edge.export.synthetic import DIMENSIONS, draw_weight, write_synthetic_checkpoint
from janus_edge.export.synthetic_tokenizer import build_tokenizer, special_tokens

TINY = DIMENSIONS["tiny"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_checkpoint(tmp_path_factory.mktemp("tiny"), TINY, seed=3)


@pytest.fixture(scope="module")
def model(folder: Path) -> transformers.JanusForConditionalGeneration:
    loaded, info = transformers.JanusForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32
    )
    assert not any(info.values()), info
    return loaded.eval()


@pytest.fixture(scope="module")
def prompt(folder: Path) -> torch.Tensor:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "<|User|>: a red house by the lake\n\n<|Assistant|>:<begin_of_image>"
    return torch.tensor([[special_tokens(512).bos, *tokenizer.encode(text).ids]])


def test_repeatable(folder: Path, tmp_path: Path) -> None:
    """The same seed gives the same bytes in every file, another seed other weights."""
    again = write_synthetic_checkpoint(tmp_path / "a", TINY, seed=3)
    for file in folder.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
    other = Checkpoint.open(write_synthetic_checkpoint(tmp_path / "b", TINY, seed=4))
    assert other.digest() != Checkpoint.open(folder).digest()


def test_transformers_generates_images(
    model: transformers.JanusForConditionalGeneration, prompt: torch.Tensor
) -> None:
    """transformers' own image generation runs with the folder's generation configuration."""
    codes = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        generation_mode="image",
        do_sample=False,
        max_length=200,
    )
    assert codes.shape == (1, TINY.image_tokens)
    assert len(codes.unique()) > 1
    assert model.generation_config.pad_token_id == special_tokens(512).pad


@torch.no_grad()
def test_sane_values(
    model: transformers.JanusForConditionalGeneration, prompt: torch.Tensor
) -> None:
    """Both heads have logits of real spread, embeddings one scale, and pictures fill [-1, 1]."""
    core = model.model
    hidden = core.language_model(input_ids=prompt).last_hidden_state
    codes = torch.randint(0, 128, (4, 16), generator=torch.Generator().manual_seed(0))
    pictures = model.decode_image_tokens(codes)
    noise = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    spreads = {
        "text": model.lm_head(hidden).std(),
        "image": core.generation_head(hidden).std(),
        "words": core.get_input_embeddings()(prompt).std(),
        "seen": core.get_image_features(noise).pooler_output.std(),
        "drawn": model.prepare_embeddings_for_image_generation(codes).std(),
        "pictures": pictures.std() * 3,
    }
    for name, spread in spreads.items():
        assert 0.7 < spread < 3, (name, spread)
    assert len(core.vqmodel.encode(noise).image_tokens.unique()) > 4


def test_dtype(tmp_path: Path) -> None:
    """float32 weights round to the bfloat16 weights of the same seed."""
    full = Checkpoint.open(write_synthetic_checkpoint(tmp_path, TINY, dtype=torch.float32, seed=3))
    for name in full.names():
        tensor = full.tensor(name)
        half = draw_weight(name, tuple(tensor.shape), torch.bfloat16, 3)
        assert torch.equal(tensor.bfloat16(), half)


@pytest.mark.parametrize("vocab_size", [264, 512, 102400])
def test_tokenizer(vocab_size: int) -> None:
    """Any text survives, ids are inside the vocabulary, and special tokens are one token each."""
    tokenizer = build_tokenizer(vocab_size)
    text = "A small red house, 小さな家 — 🏠\n\n"
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == text
    assert max(tokenizer.get_vocab().values()) < vocab_size
    tokens = dataclasses.asdict(special_tokens(vocab_size))
    for field, string in SPECIAL_TOKEN_STRINGS.items():
        assert tokenizer.encode(f"x{string}y").ids[1] == tokens[field]
        assert tokenizer.decode([tokens[field]]) == ""
    for role in ("<|User|>", "<|Assistant|>"):
        assert len(tokenizer.encode(role).ids) == 1
        assert tokenizer.decode(tokenizer.encode(role).ids) == role


def test_published_ids() -> None:
    """A vocabulary of the published size has BOS and EOS where the published ones are."""
    tokens = special_tokens(102400)
    assert (tokens.bos, tokens.eos, tokens.image_placeholder) == (100000, 100001, 100581)


def test_what_cannot_be_stated(tmp_path: Path) -> None:
    """A model that the format cannot express is refused before anything is written."""
    head = dataclasses.replace(TINY, image_head_size=96)
    with pytest.raises(InputError, match="projection_dim"):
        write_synthetic_checkpoint(tmp_path / "a", head, format="transformers")
    eps = dataclasses.replace(TINY, vision=dataclasses.replace(TINY.vision, layer_norm_eps=1e-5))
    with pytest.raises(InputError, match="cannot state"):
        write_synthetic_checkpoint(tmp_path / "a", eps, format="deepseek-ai")
    small = dataclasses.replace(TINY, language=dataclasses.replace(TINY.language, vocab_size=260))
    with pytest.raises(InputError, match="at least 264"):
        write_synthetic_checkpoint(tmp_path / "a", small)
    assert not (tmp_path / "a").exists()


def test_odd_mlp_ratio(tmp_path: Path) -> None:
    """An intermediate size that is no round multiple of the width survives both formats."""
    vision = dataclasses.replace(TINY.vision, intermediate_size=131)
    config = dataclasses.replace(TINY, vision=vision)
    for file_format in ("transformers", "deepseek-ai"):
        folder = write_synthetic_checkpoint(tmp_path / file_format, config, format=file_format)
        assert Checkpoint.open(folder).config == config
    stated = json.loads((tmp_path / "transformers" / "config.json").read_text())
    assert int(stated["vision_config"]["hidden_size"] * stated["vision_config"]["mlp_ratio"]) == 131
