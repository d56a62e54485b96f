"""The names and shapes of a Janus model's weights, and where each lies in either file format.

The canonical names are those of transformers' ``JanusForConditionalGeneration.state_dict()``; the
original (deepseek-ai) format packs query, key and value of the vision encoder into one matrix and
keeps the position table with a batch axis, everything else is a matter of names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from janus_edge.config import JanusConfig, LanguageConfig, VisionConfig, VQConfig

Format = Literal["deepseek-ai", "transformers"]
Shape = tuple[int, ...]

EMBEDDING = "model.language_model.embed_tokens.weight"
TEXT_HEAD = "lm_head.weight"

#: What a file may hold besides the model: a pooling head that Janus never calls, a counter of
#: training, and buffers that older versions saved although they follow from the configuration.
SURPLUS = re.compile(
    r"vision_model\.vision_tower\.attn_pool\..*"
    r"|(gen_vision_model|model\.vqmodel)\.quantize\.codebook_used"
    r"|.*\.rotary_emb\.inv_freq"
    r"|model\.vision_model\.embeddings\.position_ids"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a weight lies in a file: ``name``, the ``shape`` stored there, and which rows of it.

    ``rows`` is (first, end) along axis 0, or None for all. What is read has as many values as the
    canonical shape, in the same order.
    """

    name: str
    shape: Shape
    rows: tuple[int, int] | None = None


def places(config: JanusConfig, file_format: Format) -> dict[str, Place]:
    """Canonical name -> its place in a file of ``file_format``, for every weight of the model."""
    shapes = expected_shapes(config)
    if file_format == "transformers":
        return {name: Place(name, shape) for name, shape in shapes.items()}
    return {name: _original_place(name, shape) for name, shape in shapes.items()}


def expected_shapes(config: JanusConfig) -> dict[str, Shape]:
    """Canonical name -> shape of every weight that a model of these dimensions has."""
    hidden, vision, vq = config.language.hidden_size, config.vision, config.vq
    shapes: dict[str, Shape] = {}
    _vision(shapes, vision)
    _projector(shapes, "model.aligner", vision.hidden_size, hidden, vision.aligner_depth)
    _vq(shapes, vq)
    shapes["model.generation_embeddings.weight"] = (vq.codebook_size, vq.codebook_dim)
    _projector(
        shapes, "model.generation_aligner", vq.codebook_dim, hidden, config.gen_aligner_depth
    )
    _linear(shapes, "model.generation_head.proj_out", hidden, config.image_head_size)
    _linear(shapes, "model.generation_head.vision_head", config.image_head_size, vq.codebook_size)
    _language(shapes, config.language)
    return shapes


def _after_the_first(match: re.Match[str]) -> str:
    # The original numbers a Sequential that counts the activations between the linear layers.
    kind = {"aligner": "aligner", "generation_aligner": "gen_aligner"}[match[1]]
    return f"{kind}.layers.{2 * (int(match[2]) + 1)}."


_TOWER = "vision_model.vision_tower."
_LAYER = r"model\.vision_model\.encoder\.layers\.(\d+)\."

#: Canonical prefix -> original prefix; the first that matches is replaced, the rest of the name is
#: kept.
_RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (_LAYER + r"layer_norm([12])\.", _TOWER + r"blocks.\1.norm\2."),
    (_LAYER + r"self_attn\.[qkv]_proj\.", _TOWER + r"blocks.\1.attn.qkv."),
    (_LAYER + r"self_attn\.projection_layer\.", _TOWER + r"blocks.\1.attn.proj."),
    (_LAYER + r"mlp\.", _TOWER + r"blocks.\1.mlp."),
    (r"model\.vision_model\.embeddings\.patch_embedding\.", _TOWER + "patch_embed.proj."),
    (r"model\.vision_model\.embeddings\.position_embedding\.weight", _TOWER + "pos_embed"),
    (r"model\.vision_model\.post_layernorm\.", _TOWER + "norm."),
    (r"model\.aligner\.fc1\.", "aligner.layers.0."),
    (r"model\.generation_aligner\.fc1\.", "gen_aligner.layers.0."),
    (r"model\.(aligner|generation_aligner)\.hidden_layers\.(\d+)\.", _after_the_first),
    (r"model\.vqmodel\.(en|de)coder\.(?:down|up)\.(\d+)\.block\.",
     r"gen_vision_model.\1coder.conv_blocks.\2.res."),
    (r"model\.vqmodel\.(en|de)coder\.(?:down|up)\.(\d+)\.",
     r"gen_vision_model.\1coder.conv_blocks.\2."),
    (r"model\.vqmodel\.(en|de)coder\.mid\.block_1\.", r"gen_vision_model.\1coder.mid.0."),
    (r"model\.vqmodel\.(en|de)coder\.mid\.attn_1\.", r"gen_vision_model.\1coder.mid.1."),
    (r"model\.vqmodel\.(en|de)coder\.mid\.block_2\.", r"gen_vision_model.\1coder.mid.2."),
    (r"model\.vqmodel\.", "gen_vision_model."),
    (r"model\.generation_embeddings\.", "gen_embed."),
    (r"model\.generation_head\.proj_out\.", "gen_head.output_mlp_projector."),
    (r"model\.generation_head\.vision_head\.", "gen_head.vision_head."),
    (r"model\.language_model\.", "language_model.model."),
    (r"lm_head\.", "language_model.lm_head."),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), original) for pattern, original in _RULES)
_PACKED = re.compile(_LAYER + r"self_attn\.([qkv])_proj\.")


def _original_place(name: str, shape: Shape) -> Place:
    """The place of a canonical weight in the original format."""
    pattern, original = next((p, o) for p, o in _COMPILED if p.match(name))
    renamed = pattern.sub(original, name, count=1)
    packed = _PACKED.match(name)
    if packed:
        size, third = shape[0], "qkv".index(packed[2])
        return Place(renamed, (3 * size, *shape[1:]), (third * size, (third + 1) * size))
    if renamed.endswith("pos_embed"):
        return Place(renamed, (1, *shape))
    return Place(renamed, shape)


def _linear(shapes: dict[str, Shape], name: str, inputs: int, outputs: int) -> None:
    shapes[f"{name}.weight"] = (outputs, inputs)
    shapes[f"{name}.bias"] = (outputs,)


def _conv(shapes: dict[str, Shape], name: str, inputs: int, outputs: int, kernel: int) -> None:
    shapes[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
    shapes[f"{name}.bias"] = (outputs,)


def _norm(shapes: dict[str, Shape], name: str, size: int) -> None:
    shapes[f"{name}.weight"] = (size,)
    shapes[f"{name}.bias"] = (size,)


def _projector(shapes: dict[str, Shape], name: str, inputs: int, outputs: int, depth: int) -> None:
    _linear(shapes, f"{name}.fc1", inputs, outputs)
    for i in range(depth - 1):
        _linear(shapes, f"{name}.hidden_layers.{i}", outputs, outputs)


def _vision(shapes: dict[str, Shape], vision: VisionConfig) -> None:
    width, name = vision.hidden_size, "model.vision_model"
    _conv(shapes, f"{name}.embeddings.patch_embedding", 3, width, vision.patch_size)
    shapes[f"{name}.embeddings.position_embedding.weight"] = (vision.grid**2, width)
    for i in range(vision.layers):
        layer = f"{name}.encoder.layers.{i}"
        _norm(shapes, f"{layer}.layer_norm1", width)
        for part in ("q_proj", "k_proj", "v_proj", "projection_layer"):
            _linear(shapes, f"{layer}.self_attn.{part}", width, width)
        _norm(shapes, f"{layer}.layer_norm2", width)
        _linear(shapes, f"{layer}.mlp.fc1", width, vision.intermediate_size)
        _linear(shapes, f"{layer}.mlp.fc2", vision.intermediate_size, width)
    _norm(shapes, f"{name}.post_layernorm", width)


def _vq(shapes: dict[str, Shape], vq: VQConfig) -> None:
    name = "model.vqmodel"
    widths = [vq.base_channels * m for m in vq.channel_multiplier]
    lowest = len(widths) - 1
    _conv(shapes, f"{name}.encoder.conv_in", 3, vq.base_channels, 3)
    channels = vq.base_channels
    for i, width in enumerate(widths):
        level = f"{name}.encoder.down.{i}"
        _vq_level(shapes, level, channels, width, vq.res_blocks, attention=i == lowest)
        channels = width
        if i != lowest:
            _conv(shapes, f"{level}.downsample.conv", channels, channels, 3)
    _vq_middle(shapes, f"{name}.encoder", channels)
    _norm(shapes, f"{name}.encoder.norm_out", channels)
    _conv(shapes, f"{name}.encoder.conv_out", channels, vq.latent_channels, 3)
    shapes[f"{name}.quantize.embedding.weight"] = (vq.codebook_size, vq.codebook_dim)
    _conv(shapes, f"{name}.quant_conv", vq.latent_channels, vq.codebook_dim, 1)
    _conv(shapes, f"{name}.post_quant_conv", vq.codebook_dim, vq.latent_channels, 1)
    _conv(shapes, f"{name}.decoder.conv_in", vq.latent_channels, channels, 3)
    _vq_middle(shapes, f"{name}.decoder", channels)
    for i, width in enumerate(reversed(widths)):  # both formats number from the lowest level up
        level = f"{name}.decoder.up.{i}"
        _vq_level(shapes, level, channels, width, vq.res_blocks + 1, attention=i == 0)
        channels = width
        if i != lowest:
            _conv(shapes, f"{level}.upsample.conv", channels, channels, 3)
    _norm(shapes, f"{name}.decoder.norm_out", channels)
    _conv(shapes, f"{name}.decoder.conv_out", channels, 3, 3)


def _vq_level(
    shapes: dict[str, Shape], level: str, inputs: int, width: int, blocks: int, *, attention: bool
) -> None:
    for i in range(blocks):
        _vq_block(shapes, f"{level}.block.{i}", inputs if i == 0 else width, width)
        if attention:
            _vq_attention(shapes, f"{level}.attn.{i}", width)


def _vq_middle(shapes: dict[str, Shape], coder: str, width: int) -> None:
    _vq_block(shapes, f"{coder}.mid.block_1", width, width)
    _vq_attention(shapes, f"{coder}.mid.attn_1", width)
    _vq_block(shapes, f"{coder}.mid.block_2", width, width)


def _vq_block(shapes: dict[str, Shape], name: str, inputs: int, outputs: int) -> None:
    _norm(shapes, f"{name}.norm1", inputs)
    _conv(shapes, f"{name}.conv1", inputs, outputs, 3)
    _norm(shapes, f"{name}.norm2", outputs)
    _conv(shapes, f"{name}.conv2", outputs, outputs, 3)
    if inputs != outputs:
        _conv(shapes, f"{name}.nin_shortcut", inputs, outputs, 1)


def _vq_attention(shapes: dict[str, Shape], name: str, width: int) -> None:
    _norm(shapes, f"{name}.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        _conv(shapes, f"{name}.{part}", width, width, 1)


def _language(shapes: dict[str, Shape], lm: LanguageConfig) -> None:
    hidden, kv = lm.hidden_size, lm.kv_heads * lm.head_dim
    shapes[EMBEDDING] = (lm.vocab_size, hidden)
    for i in range(lm.layers):
        layer = f"model.language_model.layers.{i}"
        shapes[f"{layer}.self_attn.q_proj.weight"] = (hidden, hidden)
        shapes[f"{layer}.self_attn.k_proj.weight"] = (kv, hidden)
        shapes[f"{layer}.self_attn.v_proj.weight"] = (kv, hidden)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (hidden, hidden)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (lm.intermediate_size, hidden)
        shapes[f"{layer}.mlp.up_proj.weight"] = (lm.intermediate_size, hidden)
        shapes[f"{layer}.mlp.down_proj.weight"] = (hidden, lm.intermediate_size)
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
    shapes["model.language_model.norm.weight"] = (hidden,)
    shapes[TEXT_HEAD] = (lm.vocab_size, hidden)
