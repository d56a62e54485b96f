"""Walks over a network's layers."""

from __future__ import annotations

from collections.abc import Iterator

from janus_edge.engines.tensorrt.objects import ILayer, INetworkDefinition


def layers_of(network: INetworkDefinition) -> Iterator[ILayer]:
    """Yield the layers in TensorRT's order, which need not be that of their data."""
    return (network.get_layer(index) for index in range(network.num_layers))


def makers_of(network: INetworkDefinition) -> dict[str, ILayer]:
    """Return the layer that produces each tensor, by the tensor's name."""
    found = {}
    for layer in layers_of(network):
        for index in range(layer.num_outputs):
            tensor = layer.get_output(index)
            if tensor is not None:
                found[tensor.name] = layer
    return found
