"""config.json of both formats."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from janus_edge.config import JanusConfig
from janus_edge.errors import CheckpointError
from janus_edge.export.checkpoint_config import parse_config, read_config
from janus_edge.export.synthetic import DIMENSIONS
from janus_edge.export.synthetic_config import config_json
from janus_edge.export.synthetic_tokenizer import special_tokens
from janus_edge.export.weight_names import Format

FORMATS: tuple[Format, ...] = ("deepseek-ai", "transformers")


def written(size: str, file_format: Format) -> dict[str, Any]:
    config = DIMENSIONS[size]
    tokens = special_tokens(config.language.vocab_size)
    data = config_json(config, tokens, file_format, "bfloat16")
    loaded: dict[str, Any] = json.loads(json.dumps(data))
    return loaded


def changed(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(data)
    *parents, key = path.split(".")
    node = data
    for parent in parents:
        node = node[parent]
    node[key] = value
    return data


def original_7b() -> dict[str, Any]:
    """A configuration that leaves out what the published Janus-Pro-7B leaves out."""
    data = written("7b", "deepseek-ai")
    data["language_config"] = {
        "max_position_embeddings": 16384,
        "model_type": "llama",
        "num_hidden_layers": 30,
        "torch_dtype": "bfloat16",
        "vocab_size": 102400,
    }
    return data


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("size", DIMENSIONS)
def test_round_trip(size: str, file_format: Format) -> None:
    """What the synthetic writer states in either format is read back as the same model."""
    parsed = parse_config(written(size, file_format), "here")
    assert (parsed.model, parsed.format, parsed.tied_head) == (
        DIMENSIONS[size],
        file_format,
        False,
    )


def test_published_original_states_no_extension() -> None:
    """The published dimensions need none of janus-edge's keys: names are enough."""
    data = written("1b", "deepseek-ai")
    assert set(data["gen_vision_config"]["params"]) == {"image_token_size", "n_embed"}
    assert "width" not in data["vision_config"]["params"]


def test_llama_defaults() -> None:
    """The 7B's missing fields are Llama's defaults."""
    assert parse_config(original_7b(), "here").model == DIMENSIONS["7b"]


def test_all_llama_defaults() -> None:
    """A language_config with nothing in it is Llama-7B."""
    data = changed(original_7b(), "language_config", {})
    lm = parse_config(data, "here").model.language
    assert (lm.hidden_size, lm.layers, lm.heads, lm.kv_heads) == (4096, 32, 32, 32)
    assert (lm.intermediate_size, lm.vocab_size, lm.max_positions) == (11008, 32000, 2048)
    assert (lm.rms_norm_eps, lm.rope_theta) == (1e-6, 10000.0)


def test_transformers_defaults() -> None:
    """A transformers file may leave out whatever equals that library's defaults (the 1B's)."""
    data = written("1b", "transformers")
    for key in ("vision_config", "vq_config"):
        data[key] = {}
    del data["tie_word_embeddings"]
    parsed = parse_config(data, "here")
    assert parsed.model == DIMENSIONS["1b"]
    assert parsed.tied_head


@pytest.mark.parametrize(
    ("select", "layers"), [(-1, 24), (-2, 23), (0, 24), (5, 5), (30, 24), (None, 23)]
)
def test_select_layer(select: int | None, layers: int) -> None:
    """The tower is as deep as the layer that is selected; without one, CLIPVisionTower's -2."""
    data = changed(written("1b", "deepseek-ai"), "vision_config.params.select_layer", select)
    assert parse_config(data, "here").model.vision.layers == layers


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 5e5},
        {"rope_theta": 5e5, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_theta": 5e5, "rope_scaling": {"type": "default"}},
    ],
)
def test_rope_of_both_generations(rope: dict[str, Any]) -> None:
    """transformers 4 writes rope_theta and rope_scaling, transformers 5 rope_parameters."""
    data = written("tiny", "transformers")
    del data["text_config"]["rope_parameters"]
    data["text_config"].update(rope)
    lm = dataclasses.replace(DIMENSIONS["tiny"].language, rope_theta=5e5)
    expected = dataclasses.replace(DIMENSIONS["tiny"], language=lm)
    assert parse_config(data, "here").model == expected


BAD_TRANSFORMERS = {
    "model_type": "llava",
    "text_config.model_type": "qwen2",
    "text_config.rope_parameters": {"rope_theta": 1e4, "rope_type": "yarn"},
    "text_config.rope_scaling": {"type": "linear", "factor": 2.0},
    "text_config.attention_bias": True,
    "text_config.mlp_bias": True,
    "text_config.hidden_act": "gelu",
    "text_config.head_dim": 24,
    "text_config.hidden_size": "64",
    "text_config.num_attention_heads": True,
    "text_config.num_key_value_heads": 3,
    "vision_config.use_qk_norm": True,
    "vision_config.attention_bias": False,
    "vision_config.hidden_act": "gelu_pytorch_tanh",
    "vision_config.projection_dim": 32,
    "vision_config.num_image_tokens": 576,
    "vision_config.patch_size": 16,
    "vision_config": 3,
    "vq_config.double_latent": True,
    "vq_config.channel_multiplier": [1, 2.5],
    "vq_config.base_channels": 48,
    "vq_config.image_token_embed_dim": 32,
    "vq_config.projection_dim": 32,
    "tie_word_embeddings": "no",
}

BAD_ORIGINAL = {
    "model_type": None,
    "vision_und_enc_config": {"cls": "CLIPVisionTower"},
    "vision_config.cls": "SAM",
    "vision_config.params.model_name": "sam_b_downsample",
    "vision_config.params.select_layer": -3,
    "vision_config.params.pixel_mean": [0.5],
    "gen_vision_config.cls": "VQ-8",
    "gen_vision_config.params.n_embed": None,
    "gen_head_config.cls": None,
    "gen_head_config.params.image_token_size": 7,
    "aligner_config.params.projector_type": "low_high_hybrid_split_mlp_gelu",
    "aligner_config.params.input_dim": 1152,
    "gen_aligner_config.params.projector_type": "linear",
    "gen_aligner_config.params.depth": 0,
    "language_config.rope_scaling": {"rope_type": "llama3"},
    "language_config.hidden_size": 128,
}


@pytest.mark.parametrize(
    ("file_format", "path", "value"),
    [("transformers", *bad) for bad in BAD_TRANSFORMERS.items()]
    + [("deepseek-ai", *bad) for bad in BAD_ORIGINAL.items()],
)
def test_unsupported(file_format: Format, path: str, value: Any) -> None:
    """A value that cannot be exported is an error that names the file and a fix."""
    data = written("tiny", file_format)
    if path.endswith("pixel_mean"):
        data["vision_config"]["params"]["pixel_std"] = [0.5]
    with pytest.raises(CheckpointError, match=r"the-file.*[:;] "):
        parse_config(changed(data, path, value), "the-file")


def test_error_says_which_value() -> None:
    """The message has the path of the value, what was found, and what is supported."""
    data = changed(written("tiny", "transformers"), "vision_config.use_qk_norm", True)
    with pytest.raises(CheckpointError, match=r"'vision_config.use_qk_norm' is True, and only Fal"):
        parse_config(data, "the-file")


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff", "[" * 100_000])
def test_damaged_file(tmp_path: Path, text: str) -> None:
    """A file that is not a JSON object is a CheckpointError."""
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match="download it again"):
        read_config(tmp_path / "config.json")


def test_image_head_of_another_width() -> None:
    """The original format can have an image head that is not as wide as the language model."""
    config: JanusConfig = dataclasses.replace(DIMENSIONS["tiny"], image_head_size=96)
    data = config_json(config, special_tokens(512), "deepseek-ai", "float32")
    assert parse_config(data, "here").model == config
