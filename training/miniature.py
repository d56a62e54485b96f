"""The dimensions of the miniature and its torch modules: transformers' own Janus, made small."""

from __future__ import annotations

from transformers import JanusConfig as TransformersConfig
from transformers import JanusForConditionalGeneration
from transformers.models.janus.configuration_janus import JanusVisionConfig, JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVisionModel, JanusVQVAE

from janus_edge.config import JanusConfig, LanguageConfig, SpecialTokens, VisionConfig, VQConfig
from janus_edge.export.synthetic_config import config_json

VOCABULARY = 1024
CONFIG = JanusConfig(
    vision=VisionConfig(128, 4, 4, 512, image_size=64, patch_size=4),
    # 64 channels at full size: the last GroupNorm has 32 groups, and a group of one channel would
    # take the brightness of a plain picture away
    vq=VQConfig(512, 8, 32, (2, 2, 2), res_blocks=1, latent_channels=64),
    language=LanguageConfig(192, 6, 6, 6, 512, vocab_size=VOCABULARY, max_positions=1024),
    image_head_size=192,
)
FORMAT = "transformers"


def janus(tokens: SpecialTokens) -> JanusForConditionalGeneration:
    """The whole model with transformers' own random weights."""
    described = config_json(CONFIG, tokens, FORMAT, "float32")
    return JanusForConditionalGeneration(TransformersConfig.from_dict(described))


def vision_model() -> JanusVisionModel:
    """The vision encoder alone, without the aligner."""
    vision = CONFIG.vision
    return JanusVisionModel(
        JanusVisionConfig(
            hidden_size=vision.hidden_size,
            num_hidden_layers=vision.layers,
            num_attention_heads=vision.heads,
            mlp_ratio=vision.intermediate_size / vision.hidden_size,
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            layer_norm_eps=vision.layer_norm_eps,
        )
    )


def vq_model() -> JanusVQVAE:
    """The VQ encoder, codebook and decoder alone."""
    vq = CONFIG.vq
    return JanusVQVAE(
        JanusVQVAEConfig(
            embed_dim=vq.codebook_dim,
            num_embeddings=vq.codebook_size,
            latent_channels=vq.latent_channels,
            base_channels=vq.base_channels,
            channel_multiplier=list(vq.channel_multiplier),
            num_res_blocks=vq.res_blocks,
            num_patches=CONFIG.vision.grid,
        )
    )
