"""The names and shapes of weights, against transformers' own model and the original's code."""

from __future__ import annotations

import pytest
import torch
import transformers

from janus_edge.export.synthetic import DIMENSIONS
from janus_edge.export.synthetic_config import config_json
from janus_edge.export.synthetic_tokenizer import special_tokens
from janus_edge.export.weight_names import SURPLUS, Place, expected_shapes, places


@pytest.mark.parametrize("size", DIMENSIONS)
def test_shapes_are_those_of_transformers(size: str) -> None:
    """expected_shapes is the state_dict of transformers' model of the same configuration."""
    config = DIMENSIONS[size]
    tokens = special_tokens(config.language.vocab_size)
    data = config_json(config, tokens, "transformers", "bfloat16")
    with torch.device("meta"):
        model = transformers.JanusForConditionalGeneration(transformers.JanusConfig.from_dict(data))
    actual = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert expected_shapes(config) == actual


def test_original_places() -> None:
    """Each kind of weight lies where the original's modules, read by hand, have it."""
    found = places(DIMENSIONS["1b"], "deepseek-ai")
    tower, vq = "vision_model.vision_tower", "gen_vision_model"
    vision = "model.vision_model"
    layer = f"{vision}.encoder.layers.3"
    expected = {
        f"{vision}.embeddings.patch_embedding.weight": Place(
            f"{tower}.patch_embed.proj.weight", (1024, 3, 16, 16)
        ),
        f"{vision}.embeddings.position_embedding.weight": Place(
            f"{tower}.pos_embed", (1, 576, 1024)
        ),
        f"{layer}.layer_norm2.bias": Place(f"{tower}.blocks.3.norm2.bias", (1024,)),
        f"{layer}.self_attn.q_proj.weight": Place(
            f"{tower}.blocks.3.attn.qkv.weight", (3072, 1024), (0, 1024)
        ),
        f"{layer}.self_attn.v_proj.bias": Place(
            f"{tower}.blocks.3.attn.qkv.bias", (3072,), (2048, 3072)
        ),
        f"{layer}.self_attn.projection_layer.bias": Place(
            f"{tower}.blocks.3.attn.proj.bias", (1024,)
        ),
        f"{layer}.mlp.fc1.weight": Place(f"{tower}.blocks.3.mlp.fc1.weight", (4096, 1024)),
        f"{vision}.post_layernorm.weight": Place(f"{tower}.norm.weight", (1024,)),
        "model.aligner.fc1.weight": Place("aligner.layers.0.weight", (2048, 1024)),
        "model.aligner.hidden_layers.0.bias": Place("aligner.layers.2.bias", (2048,)),
        "model.generation_aligner.hidden_layers.0.weight": Place(
            "gen_aligner.layers.2.weight", (2048, 2048)
        ),
        "model.generation_embeddings.weight": Place("gen_embed.weight", (16384, 8)),
        "model.generation_head.proj_out.bias": Place("gen_head.output_mlp_projector.bias", (2048,)),
        "model.generation_head.vision_head.weight": Place(
            "gen_head.vision_head.weight", (16384, 2048)
        ),
        "model.vqmodel.encoder.down.2.block.0.nin_shortcut.weight": Place(
            f"{vq}.encoder.conv_blocks.2.res.0.nin_shortcut.weight", (256, 128, 1, 1)
        ),
        "model.vqmodel.encoder.down.4.attn.1.proj_out.bias": Place(
            f"{vq}.encoder.conv_blocks.4.attn.1.proj_out.bias", (512,)
        ),
        "model.vqmodel.encoder.down.0.downsample.conv.bias": Place(
            f"{vq}.encoder.conv_blocks.0.downsample.conv.bias", (128,)
        ),
        "model.vqmodel.encoder.mid.attn_1.q.bias": Place(f"{vq}.encoder.mid.1.q.bias", (512,)),
        "model.vqmodel.decoder.mid.block_2.conv1.bias": Place(
            f"{vq}.decoder.mid.2.conv1.bias", (512,)
        ),
        "model.vqmodel.decoder.up.0.attn.2.norm.bias": Place(
            f"{vq}.decoder.conv_blocks.0.attn.2.norm.bias", (512,)
        ),
        "model.vqmodel.decoder.up.3.upsample.conv.weight": Place(
            f"{vq}.decoder.conv_blocks.3.upsample.conv.weight", (128, 128, 3, 3)
        ),
        "model.vqmodel.quantize.embedding.weight": Place(
            f"{vq}.quantize.embedding.weight", (16384, 8)
        ),
        "model.language_model.layers.5.mlp.down_proj.weight": Place(
            "language_model.model.layers.5.mlp.down_proj.weight", (2048, 5632)
        ),
        "lm_head.weight": Place("language_model.lm_head.weight", (102400, 2048)),
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("size", DIMENSIONS)
def test_no_two_weights_share_rows(size: str) -> None:
    """The original's tensors are cut into disjoint rows that cover them."""
    rows: dict[str, list[tuple[int, int]]] = {}
    for place in places(DIMENSIONS[size], "deepseek-ai").values():
        rows.setdefault(place.name, []).append(place.rows or (0, place.shape[0]))
        assert not SURPLUS.fullmatch(place.name)
    for parts in rows.values():
        ends = [0, *(end for _, end in sorted(parts))]
        assert [first for first, _ in sorted(parts)] == ends[:-1]


def test_surplus() -> None:
    """What published files hold besides the model is ignored, and nothing that looks alike."""
    for name in (
        "vision_model.vision_tower.attn_pool.mlp.fc1.weight",
        "gen_vision_model.quantize.codebook_used",
        "language_model.model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.language_model.rotary_emb.inv_freq",
        "model.vision_model.embeddings.position_ids",
    ):
        assert SURPLUS.fullmatch(name)
    assert not SURPLUS.fullmatch("gen_vision_model.quantize.codebook_used.weight")
    assert not SURPLUS.fullmatch("language_model.model.layers.0.self_attn.q_proj.lora_A")
