"""Plant mistakes into a parsed network through TensorRT's own API.

The reader reads what is set here. A mistake that is found therefore shows that the attribute is read
and that it is used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.tensorrt_network.data_types import Array
from tests.tensorrt_network.reader import downcast
from tests.tensorrt_network.weights import stored_weights

#: Changes a network; the return value must live as long as the network.
Change = Callable[[Any, Any], object]


def find(trt: Any, network: Any, name: str, kind: str = "") -> Any:
    """Return the first layer whose name begins with ``name`` and whose type is ``kind``, if given."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.name.startswith(name) and kind in ("", layer.type.name):
            downcast(trt, layer)
            return layer
    raise LookupError(f"no layer {name!r} of type {kind!r}")


def setting(name: str, kind: str = "", **values: object) -> Change:
    """Set attributes; write a member of an enum as 'Enum.MEMBER'."""

    def change(trt: Any, network: Any) -> None:
        layer = find(trt, network, name, kind)
        for attribute, value in values.items():
            if isinstance(value, str):
                enum, _, member = value.partition(".")
                value = getattr(getattr(trt, enum), member)
            setattr(layer, attribute, value)

    return change


def reading(name: str, index: int, source: str | Array, kind: str = "") -> Change:
    """Replace input ``index`` with another tensor or a constant."""

    def change(trt: Any, network: Any) -> object:
        layer = find(trt, network, name, kind)
        if isinstance(source, str):
            layer.set_input(index, tensor(network, source))
            return None
        layer.set_input(index, network.add_constant(source.shape, source).get_output(0))
        return source

    return change


def swapping(name: str, first: int, second: int, kind: str = "") -> Change:
    """Exchange two inputs."""

    def change(trt: Any, network: Any) -> None:
        layer = find(trt, network, name, kind)
        one, other = layer.get_input(first), layer.get_input(second)
        layer.set_input(first, other)
        layer.set_input(second, one)

    return change


def attending(change_it: Callable[[Any, Any, Any], object]) -> Change:
    """Change the first attention: ``change_it`` receives the module, the network and the attention."""

    def change(trt: Any, network: Any) -> object:
        return change_it(trt, network, find(trt, network, "", "ATTENTION_INPUT").attention)

    return change


def storing(name: str, change_it: Callable[[bytes], bytes]) -> Change:
    """Change the stored bytes of a constant."""

    def change(trt: Any, network: Any) -> object:
        layer = find(trt, network, name, "CONSTANT")
        dtype, count = layer.get_output(0).dtype, int(np.prod(tuple(layer.shape)))
        stored = change_it(stored_weights(layer.weights))
        kept = ctypes.create_string_buffer(stored, len(stored))
        layer.weights = trt.Weights(dtype, ctypes.addressof(kept), count)
        return kept

    return change


def tensor(network: Any, name: str) -> Any:
    """Return the tensor called ``name``."""
    for index in range(network.num_inputs):
        if network.get_input(index).name == name:
            return network.get_input(index)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for output in range(layer.num_outputs):
            if layer.get_output(output).name == name:
                return layer.get_output(output)
    raise LookupError(f"no tensor {name!r}")
