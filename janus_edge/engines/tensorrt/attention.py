"""Changes to a parsed network: attention and the KV cache's write positions."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from janus_edge.engines.tensorrt.api import TensorRT
from janus_edge.engines.tensorrt.layers import layers_of, makers_of
from janus_edge.engines.tensorrt.objects import (
    IAttentionInputLayer,
    ILayer,
    INetworkDefinition,
    ITensor,
)
from janus_edge.errors import EngineError


def attention_layers(tensorrt: TensorRT, network: INetworkDefinition) -> int:
    """Return the number of attention layers; 0 in versions without them."""
    return len([*_attentions(tensorrt, network)])


def allow_decomposition(tensorrt: TensorRT, network: INetworkDefinition) -> int:
    """Let attention without a fused kernel be built from several kernels; return the number of layers.

    Float32 attention needs it, and heads of more than 256 channels (the VQ models have one of 512).
    Elsewhere it would hide a missing fused kernel, so it is used only for a build's second attempt.
    """
    layers = [*_attentions(tensorrt, network)]
    for layer in layers:
        layer.attention.decomposable = True
    return len(layers)


def remove_unit_products(
    tensorrt: TensorRT, network: INetworkDefinition, names: Collection[str]
) -> int:
    """Remove the products with 1 before attention's queries and keys; return how many.

    The parser multiplies both by the root of the scale, even where the graph's scale is 1 (all are,
    after `lowering/query_scale.py`). The product with the keys would read and write the whole cache in
    every step. ``names`` are the graph's values: tensors with such a name belong to the graph and stay.
    Raises EngineError if TensorRT refuses the change.
    """
    makers = makers_of(network)
    removed = 0
    for layer in _attentions(tensorrt, network):
        for index in (0, 1):
            before = layer.attention.get_input(index)
            if before is None or before.name in names:
                continue
            source = _factor(tensorrt, makers, makers[before.name])
            if source is None:
                continue
            if not layer.attention.set_input(index, source):
                raise EngineError(
                    f"{tensorrt} refuses {source.name} as input {index} of {layer.name}; "
                    "report it with the version of TensorRT, or build for tensorrt-10.3"
                )
            removed += 1
    return removed


def share_write_positions(tensorrt: TensorRT, network: INetworkDefinition) -> int:
    """Share one int32 cast of the lengths among all KV cache updates; return how many were changed.

    The parser casts the same int64 lengths once for each update: two small kernels per layer.
    """
    if not tensorrt.features.cache_update:
        return 0
    kind = tensorrt.module.LayerType
    makers, casts, shared = makers_of(network), dict[str, ITensor](), 0
    for layer in layers_of(network):
        position = layer.get_input(2) if layer.type == kind.KV_CACHE_UPDATE else None
        maker = makers.get(position.name) if position is not None else None
        if position is None or maker is None or maker.type != kind.CAST:
            continue
        source = maker.get_input(0)
        assert source is not None
        first = casts.setdefault(source.name, position)
        if first is not position:
            layer.set_input(2, first)
            shared += 1
    return shared


def _attentions(tensorrt: TensorRT, network: INetworkDefinition) -> Iterator[IAttentionInputLayer]:
    """Yield the first layer of each attention; none in versions without attention layers."""
    if not tensorrt.features.attention:
        return
    trt = tensorrt.module
    for layer in layers_of(network):
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer  # the bindings give the base class
            yield layer  # type: ignore[misc]


def _factor(tensorrt: TensorRT, makers: dict[str, ILayer], layer: ILayer) -> ITensor | None:
    """Return the tensor that ``layer`` multiplies by a uniform constant; None for any other layer.

    The only such layer that the parser puts before attention is the product with the scale's root.
    """
    kind = tensorrt.module.LayerType
    source, factor = layer.get_input(0), layer.get_input(1) if layer.num_inputs > 1 else None
    if layer.type != kind.ELEMENTWISE or source is None or factor is None:
        return None
    maker = makers.get(factor.name)
    while maker is not None and maker.type == kind.CAST:
        inner = maker.get_input(0)
        maker = makers.get(inner.name) if inner is not None else None
    constant = maker is not None and maker.type == kind.CONSTANT
    return source if constant and {*factor.shape} == {1} else None
