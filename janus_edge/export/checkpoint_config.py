"""A checkpoint's ``config.json``, in either format, as a :class:`~janus_edge.config.JanusConfig`.

Defaults are those of the code that the file was written for: a file may leave out what equals them.
The original format names its SigLIP and VQ models instead of giving their sizes. As janus-edge's
own extension, so that small checkpoints can be stated in it too, ``vision_config.params`` may carry
``width, layers, heads, mlp_ratio, patch_size`` and ``gen_vision_config.params`` may carry
``ch, ch_mult, num_res_blocks, z_channels``, which go before the table below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus_edge.config import JanusConfig, LanguageConfig, VisionConfig, VQConfig
from janus_edge.errors import CheckpointError
from janus_edge.export.config_section import Section
from janus_edge.export.weight_names import Format


@dataclass(frozen=True, slots=True)
class SigLIP:
    """A vision tower that the original knows by name (``janus/models/siglip_vit.py``)."""

    width: int
    layers: int
    heads: int
    mlp_ratio: float
    patch_size: int


@dataclass(frozen=True, slots=True)
class VQ:
    """A VQ model that the original knows by class (``janus/models/vq_model.py``)."""

    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    z_channels: int


SIGLIP_MODELS = {"siglip_large_patch16_384": SigLIP(1024, 24, 16, 4.0, 16)}
VQ_MODELS = {"VQ-16": VQ(128, (1, 1, 2, 2, 4), 2, 256)}


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """What ``config.json`` says: the model, the file format, and whether the text head is tied.

    ``tied_head`` allows a checkpoint without ``lm_head.weight``; if it has one, that one counts.
    """

    model: JanusConfig
    format: Format
    tied_head: bool


def read_config(path: Path) -> CheckpointConfig:
    """Read the ``config.json`` at ``path``.

    Raises CheckpointError if it is missing, is not JSON, or is not a Janus that can be exported.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"no config.json in {path.parent}: pass the folder of a Janus checkpoint, which has "
            "config.json, tokenizer.json and the weight files side by side"
        ) from None
    except (OSError, ValueError, RecursionError) as damaged:
        raise CheckpointError(
            f"{path} cannot be read as JSON ({damaged}): download it again"
        ) from damaged
    return parse_config(data, str(path))


def parse_config(data: Any, where: str) -> CheckpointConfig:
    """The configuration in ``data`` (what ``json.load`` gave); ``where`` names it in errors.

    Raises CheckpointError that says which value is wrong or not supported, where, and the fix.
    """
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{where} does not hold a JSON object: download it again")
    top = Section(data, where)
    if "vision_und_enc_config" in top or "vision_gen_enc_config" in top:
        raise CheckpointError(
            f"{where} is a JanusFlow checkpoint, which has no image codes and cannot be exported: "
            "pass a Janus or Janus-Pro checkpoint"
        )
    parsers: dict[str, Callable[[Section], CheckpointConfig]] = {
        "multi_modality": _original,
        "janus": _transformers,
    }
    kind = data.get("model_type")
    if kind not in parsers:
        raise CheckpointError(
            f"'model_type' is {kind!r}, and a Janus has 'multi_modality' or 'janus': {where}; "
            "pass the folder of a Janus or Janus-Pro checkpoint"
        )
    try:
        return parsers[kind](top)
    except ValueError as invalid:  # the dataclasses of janus_edge.config check themselves
        raise CheckpointError(
            f"the dimensions do not fit together ({invalid}): {where}; check that this is the "
            "checkpoint's own, unaltered config.json"
        ) from invalid


def _original(top: Section) -> CheckpointConfig:
    language, tied = _language(top.section("language_config"))
    vision = _named(top, "vision_config", "CLIPVisionTower")
    aligner = _named(top, "aligner_config", "MlpProjector")
    gen_aligner = _named(top, "gen_aligner_config", "MlpProjector")
    gen_head = _named(top, "gen_head_config", "vision_head")
    vq = _original_vq(top.section("gen_vision_config"))
    hidden = language.hidden_size
    eyes = _original_vision(vision, _depth(aligner))
    why = "the width of the language model"
    aligner.must_be("n_embed", hidden, None, why)
    aligner.must_be("input_dim", eyes.hidden_size, None, "the width of the vision encoder")
    gen_aligner.must_be("n_embed", hidden, None, why)
    gen_aligner.must_be("input_dim", vq.codebook_dim, None, "the width of a code")
    gen_head.must_be("n_embed", hidden, None, why)
    gen_head.must_be("image_token_size", vq.codebook_size, None, "the size of the codebook")
    config = JanusConfig(
        vision=eyes,
        vq=vq,
        language=language,
        image_head_size=gen_head.integer("image_token_embed"),
        gen_aligner_depth=_depth(gen_aligner),
    )
    return CheckpointConfig(config, "deepseek-ai", tied)


def _named(top: Section, key: str, cls: str) -> Section:
    section = top.section(key)
    section.must_be("cls", cls, None)
    return section.section("params")


def _depth(projector: Section) -> int:
    projector.must_be("projector_type", "mlp_gelu", None)
    return projector.integer("depth", 1)


def _original_vision(params: Section, aligner_depth: int) -> VisionConfig:
    name = params.text("model_name", "siglip_large_patch16_384")
    if name not in SIGLIP_MODELS:
        raise params.error("model_name", f"is {name!r}, known are {', '.join(SIGLIP_MODELS)}")
    if "pixel_mean" in params and "pixel_std" in params:
        raise params.error("pixel_mean", "is set, and only mean and std 0.5 are supported")
    table = SIGLIP_MODELS[name]
    width, layers = params.integer("width", table.width), params.integer("layers", table.layers)
    # The tower is built only as deep as the layer whose output is used: -1 is all, -2 one less;
    # CLIPVisionTower's own defaults are -2 and 336 pixels.
    select = params.integer("select_layer", -2)
    return VisionConfig(
        hidden_size=width,
        layers=min(layers, select if select > 0 else layers + select + 1),
        heads=params.integer("heads", table.heads),
        intermediate_size=int(width * params.number("mlp_ratio", table.mlp_ratio)),
        image_size=params.integer("image_size", 336),
        patch_size=params.integer("patch_size", table.patch_size),
        aligner_depth=aligner_depth,
    )


def _original_vq(section: Section) -> VQConfig:
    name, params = section.text("cls"), section.section("params")
    if name not in VQ_MODELS:
        raise section.error("cls", f"is {name!r}, known are {', '.join(VQ_MODELS)}")
    table = VQ_MODELS[name]
    return VQConfig(
        codebook_size=params.integer("image_token_size"),
        codebook_dim=params.integer("n_embed"),
        base_channels=params.integer("ch", table.ch),
        channel_multiplier=params.integers("ch_mult", table.ch_mult),
        res_blocks=params.integer("num_res_blocks", table.num_res_blocks),
        latent_channels=params.integer("z_channels", table.z_channels),
    )


def _transformers(top: Section) -> CheckpointConfig:
    language, tied = _language(top.section("text_config"))
    vision, vq = top.section("vision_config"), top.section("vq_config")
    why = "the width of the language model"
    for section, key in ((vision, "projection_dim"), (vq, "projection_dim")):
        section.must_be(key, language.hidden_size, 2048, why)
    vq.must_be("image_token_embed_dim", language.hidden_size, 2048, why)
    config = JanusConfig(
        vision=_transformers_vision(vision),
        vq=_transformers_vq(vq),
        language=language,
        image_head_size=vq.integer("projection_dim", 2048),
        gen_aligner_depth=vq.integer("num_hidden_layers", 2),
    )
    if "num_image_tokens" in vision:
        vision.must_be("num_image_tokens", config.image_tokens, None, "(image / patch size) ** 2")
    # transformers 5 ties by default at the top, transformers 4 asked the language model.
    return CheckpointConfig(config, "transformers", tied or top.flag("tie_word_embeddings", True))


def _transformers_vision(section: Section) -> VisionConfig:
    section.must_be("num_channels", 3, 3)
    section.must_be("hidden_act", "gelu", "gelu")
    section.must_be("attention_bias", True, True)
    section.must_be("use_qk_norm", False, False)
    width = section.integer("hidden_size", 1024)
    return VisionConfig(
        hidden_size=width,
        layers=section.integer("num_hidden_layers", 24),
        heads=section.integer("num_attention_heads", 16),
        intermediate_size=int(width * section.number("mlp_ratio", 4.0)),
        image_size=section.integer("image_size", 384),
        patch_size=section.integer("patch_size", 16),
        layer_norm_eps=section.number("layer_norm_eps", 1e-6),
        aligner_depth=section.integer("depth", 2),
    )


def _transformers_vq(section: Section) -> VQConfig:
    section.must_be("double_latent", False, False)
    section.must_be("in_channels", 3, 3)
    section.must_be("out_channels", 3, 3)
    section.must_be("hidden_act", "gelu", "gelu")
    return VQConfig(
        codebook_size=section.integer("num_embeddings", 16384),
        codebook_dim=section.integer("embed_dim", 8),
        base_channels=section.integer("base_channels", 128),
        channel_multiplier=section.integers("channel_multiplier", (1, 1, 2, 2, 4)),
        res_blocks=section.integer("num_res_blocks", 2),
        latent_channels=section.integer("latent_channels", 256),
    )


def _language(section: Section) -> tuple[LanguageConfig, bool]:
    """The language model with Llama's defaults, and whether its text head may be tied."""
    section.must_be("model_type", "llama", "llama")
    section.must_be("hidden_act", "silu", "silu")
    section.must_be("attention_bias", False, False)
    section.must_be("mlp_bias", False, False)
    heads = section.integer("num_attention_heads", 32)
    language = LanguageConfig(
        hidden_size=section.integer("hidden_size", 4096),
        layers=section.integer("num_hidden_layers", 32),
        heads=heads,
        kv_heads=section.integer("num_key_value_heads", heads),
        intermediate_size=section.integer("intermediate_size", 11008),
        vocab_size=section.integer("vocab_size", 32000),
        max_positions=section.integer("max_position_embeddings", 2048),
        rope_theta=_rope_theta(section),
        rms_norm_eps=section.number("rms_norm_eps", 1e-6),
    )
    section.must_be("head_dim", language.head_dim, language.head_dim, "hidden size / heads")
    return language, section.flag("tie_word_embeddings", False)


def _rope_theta(section: Section) -> float:
    # transformers 5 writes rope_parameters, transformers 4 rope_theta and rope_scaling (with
    # 'type' before 'rope_type').
    for key in ("rope_parameters", "rope_scaling"):
        rope = section.section(key)
        for kind in ("rope_type", "type"):
            rope.must_be(kind, "default", "default", "no scaling of positions")
        rope.must_be("partial_rotary_factor", 1.0, 1.0)
    return section.section("rope_parameters").number(
        "rope_theta", section.number("rope_theta", 10000.0)
    )
