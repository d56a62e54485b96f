"""What is changed in a parsed network: attention and the KV cache's write positions."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from janus_edge.engines.tensorrt.api import TensorRT
from janus_edge.engines.tensorrt.objects import (
    IAttentionInputLayer,
    ILayer,
    INetworkDefinition,
    ITensor,
)
from janus_edge.errors import EngineError


def attention_layers(tensorrt: TensorRT, network: INetworkDefinition) -> int:
    """Return the number of attention layers; 0 in versions that have none."""
    return len([*_attentions(tensorrt, network)])


def allow_decomposition(tensorrt: TensorRT, network: INetworkDefinition) -> int:
    """Let attention without a fused kernel be built from several kernels; return the number of layers.

    Float32 attention needs it, and heads of more than 256 channels (the VQ models have one of 512).
    Elsewhere it would hide that a fused kernel is missing, so it is the second try of a build.
    """
    layers = [*_attentions(tensorrt, network)]
    for layer in layers:
        layer.attention.decomposable = True
    return len(layers)


def remove_unit_products(
    tensorrt: TensorRT, network: INetworkDefinition, names: Collection[str]
) -> int:
    """Let attention read queries and keys directly, not their products with 1; return how many.

    The parser multiplies both by the root of the scale, even where the graph's scale is 1 (all are,
    after `lowering/query_scale.py`). The product with the keys would read and write the whole cache in
    every step. ``names`` are the graph's values: tensors with such a name are the graph's own and stay.
    Raises EngineError if TensorRT refuses the change.
    """
    makers = _makers(network)
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
    """Let all KV cache updates read one int32 cast of the lengths; return how many read another's.

    The parser casts the same int64 lengths once for each of them: two small kernels a layer.
    """
    if not tensorrt.features.cache_update:
        return 0
    kind = tensorrt.module.LayerType
    makers, casts, shared = _makers(network), dict[str, ITensor](), 0
    for layer in _layers(network):
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
    """The first layer of each attention; none in versions without attention layers."""
    if not tensorrt.features.attention:
        return
    trt = tensorrt.module
    for layer in _layers(network):
        if layer.type == trt.LayerType.ATTENTION_INPUT:
            layer.__class__ = trt.IAttentionInputLayer  # the bindings give the base class
            yield layer  # type: ignore[misc]


def _factor(tensorrt: TensorRT, makers: dict[str, ILayer], layer: ILayer) -> ITensor | None:
    """What ``layer`` combines with one constant value; None if it does something else.

    The parser makes no such layer in front of attention but its product with the scale's root.
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


def _makers(network: INetworkDefinition) -> dict[str, ILayer]:
    """The layer that makes each tensor, by the tensor's name."""
    found = {}
    for layer in _layers(network):
        for index in range(layer.num_outputs):
            tensor = layer.get_output(index)
            if tensor is not None:
                found[tensor.name] = layer
    return found


def _layers(network: INetworkDefinition) -> Iterator[ILayer]:
    return (network.get_layer(index) for index in range(network.num_layers))
