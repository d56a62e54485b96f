"""Mistakes that a parser, a lowering pass or a TensorRT version could make, at least one per layer type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.tensorrt_network.feeds import TOKENS
from tests.tensorrt_network.planting import (
    Change,
    attending,
    reading,
    setting,
    storing,
    swapping,
    tensor,
)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in ``graph``; it must be found at the ``seen`` tensor (a pattern) and nowhere else."""

    name: str
    layer_type: str
    graph: str
    change: Change
    seen: str
    recipe: str = "fp32"
    target: str = "tensorrt-rtx"


#: Layer types where no mistake can be planted, and the reason.
NONE = {"ATTENTION_OUTPUT": "has no attribute, and its input is its attention's own output"}

_ATTENTION = "layers.0.self_attn"
_VISION = "vision_model.encoder.layers.0"
_MIDDLE = "decoder.mid"


def _unmasked(trt: Any, network: Any, attention: Any) -> object:
    everything = np.ones((1, 1, TOKENS, 64), np.bool_)
    attention.mask = network.add_constant(everything.shape, everything).get_output(0)
    return everything


def _causal(trt: Any, network: Any, attention: Any) -> None:
    attention.causal_kind = trt.CausalMaskKind.UPPER_LEFT


def _key_as_value(trt: Any, network: Any, attention: Any) -> None:
    attention.set_input(2, tensor(network, "present_key.0"))


def _swapped_nibbles(stored: bytes) -> bytes:
    return bytes((byte >> 4) | (byte & 15) << 4 for byte in stored)


def _zeros(stored: bytes) -> bytes:
    return bytes(len(stored))


MISTAKES = (
    Mistake(
        "neighbours are rotated, not halves", "ROTARY_EMBEDDING", "language_model",
        setting(f"{_ATTENTION}/RotaryEmbedding", "ROTARY_EMBEDDING", interleaved=True),
        f"{_ATTENTION}/RotaryEmbedding_output_0"),
    Mistake(
        "sine and cosine exchanged", "ROTARY_EMBEDDING", "language_model",
        swapping(f"{_ATTENTION}/RotaryEmbedding", 1, 2, "ROTARY_EMBEDDING"),
        f"{_ATTENTION}/RotaryEmbedding_output_0"),
    Mistake(
        "the cache is written from position 0 on", "KV_CACHE_UPDATE", "language_model",
        reading(f"{_ATTENTION}/TensorScatter", 2, np.zeros(2, np.int32), "KV_CACHE_UPDATE"),
        "present_key.0"),
    Mistake(
        "16 groups for 32", "NORMALIZATION", "vq_decoder",
        setting(f"{_MIDDLE}.block_1.norm1/", "NORMALIZATION", num_groups=16),
        f"{_MIDDLE}.block_1.norm1/GroupNormalization_output_0"),
    Mistake(
        "normalised over tokens, not channels", "NORMALIZATION", "vision_encoder",
        setting(f"{_VISION}.layer_norm1/", "NORMALIZATION", axes=0b010),
        f"{_VISION}.layer_norm1/LayerNormalization_output_0"),
    Mistake(
        "scale and bias exchanged", "NORMALIZATION", "vision_encoder",
        swapping(f"{_VISION}.layer_norm1/", 1, 2, "NORMALIZATION"),
        f"{_VISION}.layer_norm1/LayerNormalization_output_0"),
    Mistake(
        "rounds up", "RESIZE", "vq_decoder",
        setting("decoder.up.0.upsample/", "RESIZE", nearest_rounding="ResizeRoundMode.CEIL"),
        "decoder.up.0.upsample/Resize_output_0"),
    Mistake(
        "Gelu by the tanh formula", "ACTIVATION", "image_head",
        setting("Gelu", "ACTIVATION", type="ActivationType.GELU_TANH"), "Gelu_output_0"),
    Mistake(
        "the smallest, not the largest", "TOPK", "guided_sampler",
        setting("ArgMax", "TOPK", op="TopKOperation.MIN"), "image_codes"),
    Mistake(
        "scales along the other axis", "DEQUANTIZE", "language_model",
        setting(f"{_ATTENTION}.o_proj.weight/", "DEQUANTIZE", axis=0),
        f"{_ATTENTION}.o_proj.weight.dequantized", "int8"),
    Mistake(
        "int4 nibbles exchanged", "CONSTANT", "language_model",
        storing(f"{_ATTENTION}.o_proj.weight.quantized", _swapped_nibbles),
        f"{_ATTENTION}.o_proj.weight.dequantized", "int4-weight"),
    Mistake(
        "a norm's weights are lost", "CONSTANT", "language_model", storing("norm.weight", _zeros),
        "hidden_states"),
    Mistake(
        "the scale of another input", "QUANTIZE", "language_model",
        reading(f"{_ATTENTION}.o_proj/MatMul/input/", 1, np.array(0.5, np.float16), "QUANTIZE"),
        f"{_ATTENTION}.o_proj/MatMul/input.quantized", "int8"),
    Mistake(
        "causal where all is attended", "ATTENTION_INPUT", "vision_encoder", attending(_causal),
        f"{_VISION}.self_attn/Attention_output_0"),
    Mistake(
        "a mask that allows everything", "ATTENTION_INPUT", "language_model", attending(_unmasked),
        f"{_ATTENTION}/Attention_output_0"),
    Mistake(
        "keys for values", "ATTENTION_INPUT", "language_model", attending(_key_as_value),
        f"{_ATTENTION}/Attention_output_0"),
    Mistake(
        "the queries lose their scale", "ELEMENTWISE", "vq_decoder",
        setting(f"{_MIDDLE}.attn_1/Attention/Mul", "ELEMENTWISE", op="ElementWiseOperation.MAX"),
        f"{_MIDDLE}.attn_1/Attention/Mul_*_output"),
    Mistake(
        "the mask is turned round", "ELEMENTWISE", "language_model",
        setting(f"{_ATTENTION}/Attention/Less", "ELEMENTWISE", op="ElementWiseOperation.GREATER"),
        f"{_ATTENTION}/Attention/Less_*_output"),
    Mistake(
        "a residual is subtracted", "ELEMENTWISE", "language_model",
        setting("layers.0/Add", "ELEMENTWISE", op="ElementWiseOperation.SUB"),
        "layers.0/Add_output_0"),
    Mistake(
        "exp for sqrt", "UNARY", "language_model",
        setting("layers.0.input_layernorm/", "UNARY", op="UnaryOperation.EXP"),
        "layers.0.input_layernorm/RMSNormalization_output_0"),
    Mistake(
        "the largest square for the mean", "REDUCE", "language_model",
        setting("layers.0.input_layernorm/", "REDUCE", op="ReduceOperation.MAX"),
        "layers.0.input_layernorm/RMSNormalization_output_0"),
    Mistake(
        "weights transposed", "MATRIX_MULTIPLY", "language_model",
        setting(f"{_ATTENTION}.o_proj/", "MATRIX_MULTIPLY", op1="MatrixOperation.TRANSPOSE"),
        f"{_ATTENTION}.o_proj/MatMul_output_0"),
    Mistake(
        "padded on the other side", "CONVOLUTION", "vq_encoder",
        setting("encoder.down.0.downsample", "CONVOLUTION", pre_padding=(1, 1), post_padding=(0, 0)),
        "encoder.down.0.downsample*/Conv_output_0"),
    Mistake(
        "other numbers are cast", "CAST", "image_embedding",
        reading("ONNXTRT_castHelper", 0, np.array([3, 3]), "CAST"), "Gather_output_0"),
    Mistake(
        "batch and tokens exchanged", "CONCATENATION", "language_model",
        swapping(f"{_ATTENTION}/Concat", 0, 1, "CONCATENATION"), f"{_ATTENTION}/Concat_output_0"),
    Mistake(
        "positions start at 1", "FILL", "language_model",
        reading("Range", 1, np.array(1, np.int64), "FILL"), "Range_output_0"),
    Mistake(
        "positions in steps of 2", "FILL", "language_model",
        reading("Range", 2, np.array([2], np.int64), "FILL"), "Range_output_0"),
    Mistake(
        "the table's columns for its rows", "GATHER", "language_model",
        setting(f"{_ATTENTION}/RotaryEmbedding/", "GATHER", axis=1),
        f"{_ATTENTION}/RotaryEmbedding/Gather_*_output", target="tensorrt-10.3"),
    Mistake(
        "then and else exchanged", "SELECT", "language_model",
        swapping(f"{_ATTENTION}/", 1, 2, "SELECT"), f"{_ATTENTION}/Attention/Where_*_output",
        target="tensorrt-10.3"),
    Mistake(
        "along heads, not keys", "SOFTMAX", "language_model",
        setting(f"{_ATTENTION}/", "SOFTMAX", axes=0b0010), f"{_ATTENTION}/Attention/Softmax_*",
        target="tensorrt-10.3"),
    Mistake(
        "the shape of another tensor", "SHAPE", "language_model",
        reading("Shape", 0, "past_value.0", "SHAPE"), "Shape_output_0"),
    Mistake(
        "tokens and channels exchanged", "SHUFFLE", "vision_encoder",
        setting(f"{_VISION}.self_attn/Transpose", "SHUFFLE", second_transpose=(0, 1, 3, 2)),
        f"{_VISION}.self_attn/Transpose_output_0"),
    Mistake(
        "keys take the queries' columns", "SLICE", "language_model",
        setting(f"{_ATTENTION}.q_proj/MatMul.joined/Split_", "SLICE", start=(0, 0, 0)),
        f"{_ATTENTION}.k_proj/MatMul_output_0"),
    Mistake(
        "another tensor's dimension is dropped", "SQUEEZE", "vq_decoder",
        reading(f"{_MIDDLE}.attn_1/", 0, f"{_MIDDLE}.attn_1/Unsqueeze_output_0", "SQUEEZE"),
        f"{_MIDDLE}.attn_1/Squeeze_output_0"),
    Mistake(
        "the new dimension comes first", "UNSQUEEZE", "vq_decoder",
        reading(f"{_MIDDLE}.attn_1/", 1, np.array([0], np.int64), "UNSQUEEZE"),
        f"{_MIDDLE}.attn_1/Unsqueeze_output_0"),
)  # fmt: skip
