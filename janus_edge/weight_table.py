"""The weights of every graph, from a model's dimensions alone, and their bytes under a recipe.

Memory can so be budgeted for a model that is not at hand. Names and shapes are those of the
exporter's graphs (`export/modules/`), bytes those of its float types and of what `calib/quantizer.py`
makes of them. Constants that hold shapes, and the scale and zero point of each quantised input, are
left out: 16 bytes for each weight would be more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from janus_edge.config import JanusConfig, LanguageConfig, VisionConfig, VQConfig
from janus_edge.errors import InputError
from janus_edge.graphs import Graph
from janus_edge.recipe import NUMBER_TYPES, Recipe, Scheme


@dataclass(frozen=True, slots=True)
class Weight:
    """One constant: its name, shape, and the node that multiplies by it.

    ``node`` is the MatMul or Conv that a recipe's rules may name, None where none can: norms, biases,
    tables, and the codebook of the nearest-code search. A MatMul's shape is [in, out], a Conv's
    [out, in, height, width]. ``wide`` weights are float32 in every precision.
    """

    name: str
    shape: tuple[int, ...]
    node: str | None = None
    wide: bool = False

    def stored_bytes(self, recipe: Recipe, scheme: Scheme | None) -> int:
        """Bytes of the weight and its scales; raises InputError for a convolution in blocks."""
        size, itemsize = math.prod(self.shape), recipe.bytes_per_float
        if scheme is None:
            return size * (4 if self.wide else itemsize)
        convolution = len(self.shape) == 4
        integer = NUMBER_TYPES[scheme.weights].integer
        if not scheme.block:  # a scale per output channel, and a zero point for integers
            return size + self.shape[0 if convolution else 1] * (itemsize + integer)
        if convolution:
            raise InputError(
                f"{self.node} is a convolution, and its rule has blocks; give it block 0"
            )
        rows, columns = self.shape
        block, bits = scheme.block_for(rows), scheme.bits
        scales = -(-rows // block) * columns
        if scheme.weights == "nvfp4":  # 8-bit scales, which share one scale
            return -(-size * bits // 8) + scales + itemsize
        # symmetric int4 has no zero points
        zeros = 0 if bits == 4 and scheme.symmetric else -(-scales * bits // 8)
        return -(-size * bits // 8) + scales * itemsize + zeros


def weights(graph: Graph, config: JanusConfig) -> Iterator[Weight]:
    """The weights of ``graph`` for a model of these dimensions."""
    language, vq = config.language, config.vq
    if graph is Graph.VISION_ENCODER:
        yield from _vision_encoder(config.vision, language.hidden_size)
    elif graph is Graph.VQ_ENCODER:
        yield from _vq_encoder(vq)
    elif graph is Graph.VQ_DECODER:
        yield from _vq_decoder(vq)
    elif graph is Graph.LANGUAGE_MODEL:
        yield from _language_model(language)
    elif graph is Graph.TEXT_HEAD:
        yield from _linear("lm_head", language.hidden_size, language.vocab_size, bias=False)
    elif graph is Graph.IMAGE_HEAD:
        yield from _linear("proj_out", language.hidden_size, config.image_head_size)
        yield from _linear("vision_head", config.image_head_size, vq.codebook_size)
    elif graph is Graph.IMAGE_EMBEDDING:
        yield Weight("table", (vq.codebook_size, language.hidden_size))


def weight_bytes(graph: Graph, config: JanusConfig, recipe: Recipe) -> int:
    """Bytes of the weights of ``graph``; raises InputError for a recipe that it cannot take."""
    return sum(
        weight.stored_bytes(
            recipe, recipe.scheme(graph.value, weight.node) if weight.node else None
        )
        for weight in weights(graph, config)
    )


def _linear(stem: str, inputs: int, outputs: int, *, bias: bool = True) -> Iterator[Weight]:
    yield Weight(f"{stem}.weight", (inputs, outputs), f"{stem}/MatMul")
    if bias:
        yield Weight(f"{stem}.bias", (outputs,))


def _conv(stem: str, inputs: int, outputs: int, kernel: int) -> Iterator[Weight]:
    yield Weight(f"{stem}.weight", (outputs, inputs, kernel, kernel), f"{stem}/Conv")
    yield Weight(f"{stem}.bias", (outputs,))


def _norm(stem: str, size: int) -> Iterator[Weight]:
    yield Weight(f"{stem}.weight", (size,))
    yield Weight(f"{stem}.bias", (size,))


def _language_model(lm: LanguageConfig) -> Iterator[Weight]:
    keys, inner = lm.kv_heads * lm.head_dim, lm.intermediate_size
    for table in ("rotary_cos", "rotary_sin"):
        yield Weight(table, (lm.max_positions, lm.head_dim // 2))
    for layer in range(lm.layers):
        stem = f"layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield Weight(f"{stem}.{norm}.weight", (lm.hidden_size,))
        for name, inputs, outputs in (
            ("self_attn.q_proj", lm.hidden_size, lm.hidden_size),
            ("self_attn.k_proj", lm.hidden_size, keys),
            ("self_attn.v_proj", lm.hidden_size, keys),
            ("self_attn.o_proj", lm.hidden_size, lm.hidden_size),
            ("mlp.gate_proj", lm.hidden_size, inner),
            ("mlp.up_proj", lm.hidden_size, inner),
            ("mlp.down_proj", inner, lm.hidden_size),
        ):
            yield from _linear(f"{stem}.{name}", inputs, outputs, bias=False)
    yield Weight("norm.weight", (lm.hidden_size,))


def _vision_encoder(vision: VisionConfig, hidden: int) -> Iterator[Weight]:
    size, inner, model = vision.hidden_size, vision.intermediate_size, "vision_model"
    yield from _conv(f"{model}.embeddings.patch_embedding", 3, size, vision.patch_size)
    yield Weight(f"{model}.embeddings.position_embedding.weight", (vision.grid**2, size))
    for layer in range(vision.layers):
        stem = f"{model}.encoder.layers.{layer}"
        yield from _norm(f"{stem}.layer_norm1", size)
        for name in ("q_proj", "k_proj", "v_proj", "projection_layer"):
            yield from _linear(f"{stem}.self_attn.{name}", size, size)
        yield from _norm(f"{stem}.layer_norm2", size)
        yield from _linear(f"{stem}.mlp.fc1", size, inner)
        yield from _linear(f"{stem}.mlp.fc2", inner, size)
    yield from _norm(f"{model}.post_layernorm", size)
    yield from _linear("aligner.fc1", size, hidden)
    for layer in range(vision.aligner_depth - 1):
        yield from _linear(f"aligner.hidden_layers.{layer}", hidden, hidden)


def _vq_encoder(vq: VQConfig) -> Iterator[Weight]:
    channels = [vq.base_channels * m for m in (1, *vq.channel_multiplier)]
    last = len(vq.channel_multiplier) - 1
    yield Weight("codebook", (vq.codebook_dim, vq.codebook_size), wide=True)
    yield from _conv("encoder.conv_in", 3, vq.base_channels, 3)
    for level in range(last + 1):
        stem, (inputs, outputs) = f"encoder.down.{level}", channels[level : level + 2]
        yield from _level(stem, inputs, outputs, vq.res_blocks, attention=level == last)
        if level < last:
            yield from _conv(f"{stem}.downsample.conv", outputs, outputs, 3)
    yield from _middle("encoder.mid", channels[-1])
    yield from _norm("encoder.norm_out", channels[-1])
    yield from _conv("encoder.conv_out", channels[-1], vq.latent_channels, 3)
    yield from _conv("quant_conv", vq.latent_channels, vq.codebook_dim, 1)


def _vq_decoder(vq: VQConfig) -> Iterator[Weight]:
    channels = [vq.base_channels * m for m in reversed(vq.channel_multiplier)]
    yield Weight("codebook", (vq.codebook_size, vq.codebook_dim))
    yield from _conv("post_quant_conv", vq.codebook_dim, vq.latent_channels, 1)
    yield from _conv("decoder.conv_in", vq.latent_channels, channels[0], 3)
    yield from _middle("decoder.mid", channels[0])
    for level, outputs in enumerate(channels):
        stem, inputs = f"decoder.up.{level}", channels[max(level - 1, 0)]
        yield from _level(stem, inputs, outputs, vq.res_blocks + 1, attention=level == 0)
        if level < len(channels) - 1:
            yield from _conv(f"{stem}.upsample.conv", outputs, outputs, 3)
    yield from _norm("decoder.norm_out", channels[-1])
    yield from _conv("decoder.conv_out", channels[-1], 3, 3)


def _level(
    stem: str, inputs: int, outputs: int, blocks: int, *, attention: bool
) -> Iterator[Weight]:
    for block in range(blocks):
        yield from _resnet(f"{stem}.block.{block}", inputs if block == 0 else outputs, outputs)
        if attention:
            yield from _attention(f"{stem}.attn.{block}", outputs)


def _middle(stem: str, channels: int) -> Iterator[Weight]:
    yield from _resnet(f"{stem}.block_1", channels, channels)
    yield from _attention(f"{stem}.attn_1", channels)
    yield from _resnet(f"{stem}.block_2", channels, channels)


def _resnet(stem: str, inputs: int, outputs: int) -> Iterator[Weight]:
    yield from _norm(f"{stem}.norm1", inputs)
    yield from _norm(f"{stem}.norm2", outputs)
    yield from _conv(f"{stem}.conv1", inputs, outputs, 3)
    yield from _conv(f"{stem}.conv2", outputs, outputs, 3)
    if inputs != outputs:
        yield from _conv(f"{stem}.nin_shortcut", inputs, outputs, 1)


def _attention(stem: str, channels: int) -> Iterator[Weight]:
    yield from _norm(f"{stem}.norm", channels)
    for name in ("q", "k", "v", "proj_out"):
        yield from _conv(f"{stem}.{name}", channels, channels, 1)
