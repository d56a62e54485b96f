"""Copy NVIDIA's `INetworkDefinition` into plain data.

The builder and the parser that made it must still be alive: they own the weights.
"""

from __future__ import annotations

from typing import Any

from tests.tensorrt_network.attributes import ATTRIBUTES, CLASSES, FIXED, attention_attributes
from tests.tensorrt_network.network import Layer, Network, Tensor, UnknownError, in_order
from tests.tensorrt_network.weights import read_weights

#: Members of the bindings' classes that do not affect what a layer computes.
_SILENT = {"set_input", "metadata", "is_alpha_beta_int64"}


def read_network(trt: Any, network: Any) -> Network:
    """Copy ``network``, made by the module ``trt``; raises UnknownError for anything without semantics."""
    inputs = tuple(_tensor(network.get_input(index)) for index in range(network.num_inputs))
    layers = [_layer(trt, network.get_layer(index)) for index in range(network.num_layers)]
    outputs = tuple(_tensor(network.get_output(index)) for index in range(network.num_outputs))
    return Network(inputs, outputs, in_order(inputs, layers))


def downcast(trt: Any, layer: Any) -> str:
    """Give ``layer`` the class of its type and return the type's name.

    The bindings give the base class. The type must be read first: an activation has another ``type``.
    """
    kind: str = layer.type.name
    if kind not in CLASSES:
        raise UnknownError(f"{layer.name}: no semantics for layers of type {kind}")
    layer.__class__ = getattr(trt, CLASSES[kind])
    return kind


def _layer(trt: Any, layer: Any) -> Layer:
    kind = downcast(trt, layer)
    inputs = tuple(
        None if (tensor := layer.get_input(index)) is None else tensor.name
        for index in range(layer.num_inputs)
    )
    outputs = tuple(_tensor(layer.get_output(index)) for index in range(layer.num_outputs))
    attributes = _attributes(layer, kind)
    if kind == "ATTENTION_INPUT":
        attributes, inputs = attention_attributes(layer, inputs)
    return Layer(layer.name, kind, inputs, outputs, attributes)


def _attributes(layer: Any, kind: str) -> dict[str, Any]:
    """Return the attributes of the class; raise if one is missing from the table or differs from it."""
    known, fixed = ATTRIBUTES.get(kind, ()), FIXED.get(kind, {})
    offered = {name for name in vars(type(layer)) if not name.startswith("_")} - _SILENT
    if offered != {*known, *fixed}:
        raise UnknownError(f"{layer.name}: {kind} has the attributes {sorted(offered)}")
    for name, value in fixed.items():
        found = plain(getattr(layer, name))
        if found != value:
            raise UnknownError(f"{layer.name}: no semantics for {name} = {found}")
    return {name: _value(layer, name) for name in known}


def _value(layer: Any, name: str) -> Any:
    if name == "block_shape":  # raises where there is none, so block sizes come from the shapes
        return None
    if name in ("weights", "kernel", "bias"):
        return read_weights(getattr(layer, name))
    return plain(getattr(layer, name))


def plain(value: Any) -> Any:
    """Turn enum members into their names, and dimensions and permutations into tuples."""
    if hasattr(value, "name") and hasattr(value, "value"):
        return value.name
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return tuple(value)


def _tensor(tensor: Any) -> Tensor:
    return Tensor(tensor.name, tensor.dtype.name, tuple(tensor.shape))
