"""``config.json`` and ``generation_config.json`` of a synthetic checkpoint, in either format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from janus_edge.config import JanusConfig, LanguageConfig, SpecialTokens, VisionConfig, VQConfig
from janus_edge.errors import CheckpointError, InputError
from janus_edge.export.checkpoint_config import SIGLIP_MODELS, VQ_MODELS, parse_config
from janus_edge.export.weight_names import Format

_SIGLIP, _VQ = "siglip_large_patch16_384", "VQ-16"


def config_json(
    config: JanusConfig, tokens: SpecialTokens, file_format: Format, dtype: str
) -> dict[str, Any]:
    """The ``config.json`` that :func:`parse_config` reads back as ``config``.

    ``dtype`` is torch's name of it ('bfloat16'). Raises InputError if the format cannot say this
    (transformers' has no width of the image head; the original's no epsilon of the vision norms).
    """
    write = _original if file_format == "deepseek-ai" else _transformers
    data = {**write(config, tokens), "torch_dtype": dtype, "tie_word_embeddings": False}
    try:
        parsed = parse_config(data, "config.json").model
    except CheckpointError as refused:
        raise InputError(
            f"the {file_format} format cannot state this model: {refused}"
        ) from refused
    if parsed != config:
        raise InputError(f"the {file_format} format cannot state this model: it reads as {parsed}")
    return data


def generation_config_json(tokens: SpecialTokens) -> dict[str, Any]:
    """What transformers' ``generate`` needs, also for ``generation_mode='image'``."""
    return {
        "bos_token_id": tokens.bos,
        "eos_token_id": tokens.eos,
        "pad_token_id": tokens.pad,
        "guidance_scale": 5,
        "generation_kwargs": {"boi_token_id": tokens.image_start},
    }


def _original(config: JanusConfig, tokens: SpecialTokens) -> dict[str, Any]:
    hidden, vision, vq = config.language.hidden_size, config.vision, config.vq
    return {
        "model_type": "multi_modality",
        "architectures": ["MultiModalityCausalLM"],
        "vision_config": {
            "model_type": "vision",
            "cls": "CLIPVisionTower",
            "params": {
                "image_size": vision.image_size,
                "model_name": _SIGLIP,
                "select_feature": "same",
                "select_layer": -1,
                **_siglip_overrides(vision),
            },
        },
        "aligner_config": _projector("aligner", vision.hidden_size, hidden, vision.aligner_depth),
        "gen_vision_config": {
            "model_type": "gen_vision",
            "cls": _VQ,
            "params": {
                "image_token_size": vq.codebook_size,
                "n_embed": vq.codebook_dim,
                **_vq_overrides(vq),
            },
        },
        "gen_aligner_config": _projector(
            "gen_aligner", vq.codebook_dim, hidden, config.gen_aligner_depth
        ),
        "gen_head_config": {
            "model_type": "gen_head",
            "cls": "vision_head",
            "params": {
                "image_token_embed": config.image_head_size,
                "image_token_size": vq.codebook_size,
                "n_embed": hidden,
            },
        },
        "language_config": {
            **_llama(config.language, tokens),
            "rope_theta": config.language.rope_theta,
        },
    }


def _projector(kind: str, inputs: int, outputs: int, depth: int) -> dict[str, Any]:
    params = {
        "depth": depth,
        "input_dim": inputs,
        "n_embed": outputs,
        "projector_type": "mlp_gelu",
    }
    return {"model_type": kind, "cls": "MlpProjector", "params": params}


def _siglip_overrides(vision: VisionConfig) -> dict[str, Any]:
    table = SIGLIP_MODELS[_SIGLIP]
    values = {
        "width": vision.hidden_size,
        "layers": vision.layers,
        "heads": vision.heads,
        "mlp_ratio": _mlp_ratio(vision),
        "patch_size": vision.patch_size,
    }
    return {key: value for key, value in values.items() if value != getattr(table, key)}


def _vq_overrides(vq: VQConfig) -> dict[str, Any]:
    table = VQ_MODELS[_VQ]
    values = {
        "ch": vq.base_channels,
        "ch_mult": vq.channel_multiplier,
        "num_res_blocks": vq.res_blocks,
        "z_channels": vq.latent_channels,
    }
    return {key: value for key, value in values.items() if value != getattr(table, key)}


def _mlp_ratio(vision: VisionConfig) -> float:
    """A ratio that both formats' ``int(width * ratio)`` turn into the intermediate size."""
    ratio = vision.intermediate_size / vision.hidden_size
    if int(vision.hidden_size * ratio) < vision.intermediate_size:
        ratio = math.nextafter(ratio, math.inf)
    return ratio


def _transformers(config: JanusConfig, tokens: SpecialTokens) -> dict[str, Any]:
    hidden, vision, vq = config.language.hidden_size, config.vision, config.vq
    return {
        "model_type": "janus",
        "architectures": ["JanusForConditionalGeneration"],
        "image_token_id": tokens.image_placeholder,
        "vision_config": {
            "model_type": "janus_vision_model",
            "hidden_size": vision.hidden_size,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "mlp_ratio": _mlp_ratio(vision),
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "layer_norm_eps": vision.layer_norm_eps,
            "depth": vision.aligner_depth,
            "projection_dim": hidden,
            "num_image_tokens": config.image_tokens,
        },
        "vq_config": {
            "model_type": "janus_vqgan",
            "num_embeddings": vq.codebook_size,
            "embed_dim": vq.codebook_dim,
            "base_channels": vq.base_channels,
            "channel_multiplier": vq.channel_multiplier,
            "num_res_blocks": vq.res_blocks,
            "latent_channels": vq.latent_channels,
            "num_patches": vision.grid,
            "num_hidden_layers": config.gen_aligner_depth,
            "projection_dim": config.image_head_size,
            "image_token_embed_dim": hidden,
        },
        "text_config": {
            **_llama(config.language, tokens),
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": config.language.rope_theta},
        },
    }


def _llama(lm: LanguageConfig, tokens: SpecialTokens) -> Mapping[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": lm.hidden_size,
        "intermediate_size": lm.intermediate_size,
        "num_hidden_layers": lm.layers,
        "num_attention_heads": lm.heads,
        "num_key_value_heads": lm.kv_heads,
        "vocab_size": lm.vocab_size,
        "max_position_embeddings": lm.max_positions,
        "rms_norm_eps": lm.rms_norm_eps,
        "bos_token_id": tokens.bos,
        "eos_token_id": tokens.eos,
        "pad_token_id": tokens.pad,
    }
