"""What is read of each layer type: the bindings' class and the attributes that it must have.

An attribute that a newer version adds is in no table, so reading it raises.
"""

from __future__ import annotations

from typing import Any

from tests.tensorrt_network.network import UnknownError

#: Layer type -> the bindings' class.
CLASSES = {
    "ACTIVATION": "IActivationLayer",
    "ASSERTION": "IAssertionLayer",
    "ATTENTION_INPUT": "IAttentionInputLayer",
    "ATTENTION_OUTPUT": "IAttentionOutputLayer",
    "CAST": "ICastLayer",
    "CONCATENATION": "IConcatenationLayer",
    "CONSTANT": "IConstantLayer",
    "CONVOLUTION": "IConvolutionLayer",
    "DEQUANTIZE": "IDequantizeLayer",
    "ELEMENTWISE": "IElementWiseLayer",
    "FILL": "IFillLayer",
    "GATHER": "IGatherLayer",
    "IDENTITY": "IIdentityLayer",
    "KV_CACHE_UPDATE": "IKVCacheUpdateLayer",
    "MATRIX_MULTIPLY": "IMatrixMultiplyLayer",
    "NORMALIZATION": "INormalizationLayer",
    "QUANTIZE": "IQuantizeLayer",
    "REDUCE": "IReduceLayer",
    "RESIZE": "IResizeLayer",
    "ROTARY_EMBEDDING": "IRotaryEmbeddingLayer",
    "SELECT": "ISelectLayer",
    "SHAPE": "IShapeLayer",
    "SHUFFLE": "IShuffleLayer",
    "SLICE": "ISliceLayer",
    "SOFTMAX": "ISoftMaxLayer",
    "SQUEEZE": "ISqueezeLayer",
    "TOPK": "ITopKLayer",
    "UNARY": "IUnaryLayer",
    "UNSQUEEZE": "IUnsqueezeLayer",
}

#: Attributes that are read.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "ACTIVATION": ("type", "alpha", "beta"),
    "CAST": ("to_type",),
    "CONCATENATION": ("axis",),
    "CONSTANT": ("weights", "shape"),
    "CONVOLUTION": (
        "num_output_maps",
        "pre_padding",
        "post_padding",
        "num_groups",
        "kernel",
        "bias",
        "kernel_size_nd",
        "stride_nd",
        "padding_nd",
        "dilation_nd",
    ),
    "DEQUANTIZE": ("axis", "block_shape", "to_type"),
    "ELEMENTWISE": ("op",),
    "FILL": ("shape", "alpha", "beta", "to_type"),
    "GATHER": ("axis", "mode", "num_elementwise_dims"),
    "MATRIX_MULTIPLY": ("op0", "op1"),
    "NORMALIZATION": ("epsilon", "axes", "num_groups", "is_v2"),
    "QUANTIZE": ("axis", "block_shape", "to_type"),
    "REDUCE": ("op", "axes", "keep_dims"),
    "RESIZE": (
        "shape",
        "scales",
        "coordinate_transformation",
        "nearest_rounding",
        "cubic_coeff",
        "exclude_outside",
    ),
    "ROTARY_EMBEDDING": ("interleaved", "rotary_embedding_dim"),
    "SHUFFLE": ("first_transpose", "reshape_dims", "second_transpose", "zero_is_placeholder"),
    "SLICE": ("start", "shape", "stride", "axes"),
    "SOFTMAX": ("axes",),
    "TOPK": ("op", "k", "axes"),
    "UNARY": ("op",),
    "ASSERTION": ("message",),
}

#: Attributes with semantics for one value only; any other value raises.
FIXED: dict[str, dict[str, Any]] = {
    "CONVOLUTION": {"padding_mode": "EXPLICIT_ROUND_DOWN"},
    "FILL": {"operation": "LINSPACE"},
    "KV_CACHE_UPDATE": {
        "cache_mode": "LINEAR",
        "update_form": "PADDED_BHND",
        "update_lengths": None,
    },
    "RESIZE": {"resize_mode": "NEAREST", "selector_for_single_pixel": "FORMULA"},
    "SLICE": {"mode": "STRICT_BOUNDS"},
    "TOPK": {"indices_type": "INT32"},
}

#: The same for `IAttention`, which the bindings keep beside the layer.
_ATTENTION_FIXED = {
    "norm_op": "SOFTMAX",
    "normalization_quantize_scale": None,
    "query_form": "PADDED_BHND",
    "key_value_form": "PADDED_BHND",
    "query_lengths": None,
    "key_value_lengths": None,
    "num_ranks": 1,
}
#: Attributes that change no result: ``decomposable`` allows more kernels, ``causal`` is the older
#: name of ``causal_kind``, and ``normalization_quantize_to_type`` is the type of an absent scale.
_ATTENTION_SILENT = {
    "name", "metadata", "decomposable", "causal", "mask", "normalization_quantize_to_type",
    "num_inputs", "num_outputs", "set_input", "get_input", "get_output",
}  # fmt: skip


def attention_attributes(
    layer: Any, inputs: tuple[str | None, ...]
) -> tuple[dict[str, Any], tuple[str | None, ...]]:
    """Return the attributes of an attention and its inputs: query, key, value and an optional mask."""
    attention = layer.attention
    offered = {name for name in vars(type(attention)) if not name.startswith("_")}
    unknown = offered - {*_ATTENTION_FIXED, *_ATTENTION_SILENT, "causal_kind"}
    if unknown:
        raise UnknownError(f"{layer.name}: an attention has the attributes {sorted(unknown)}")
    for name, wanted in _ATTENTION_FIXED.items():
        found = getattr(attention, name)
        found = getattr(found, "name", found)
        if found != wanted:
            raise UnknownError(f"{layer.name}: no semantics for {name} = {found}")
    mask = attention.mask
    own = [attention.get_input(index).name for index in range(3)]
    own += [mask.name] if mask is not None else []
    if list(inputs) != own:
        raise UnknownError(f"{layer.name}: the layer reads {inputs}, its attention {own}")
    return {"causal_kind": attention.causal_kind.name}, (*own[:3], own[3] if mask else None)
