"""A parsed network as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class UnknownError(Exception):
    """A layer type, an attribute or a value that the interpreter has no semantics for."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's name, the name of its TensorRT data type, and its shape; -1 is a size of the profile."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer; ``type`` is TensorRT's name for it, and an optional input that is absent is None.

    ``attributes`` are by the binding's names: enums as the names of their members, dimensions as
    tuples, weights as arrays.
    """

    name: str
    type: str
    inputs: tuple[str | None, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Network:
    """Inputs, outputs and layers, each layer after those that it reads."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layers: tuple[Layer, ...]


def in_order(inputs: tuple[Tensor, ...], layers: list[Layer]) -> tuple[Layer, ...]:
    """``layers``, each after those that it reads: the parser adds them in another order."""
    made = {tensor.name for tensor in inputs}
    waiting, ordered = list(layers), list[Layer]()
    while waiting:
        ready = [layer for layer in waiting if made.issuperset(filter(None, layer.inputs))]
        if not ready:
            raise UnknownError(f"{waiting[0].name}: reads what no layer makes")
        for layer in ready:
            twice = made.intersection(tensor.name for tensor in layer.outputs)
            if twice:
                raise UnknownError(f"{layer.name}: {twice} is the name of two tensors")
            made.update(tensor.name for tensor in layer.outputs)
        ordered += ready
        waiting = [layer for layer in waiting if layer not in ready]
    return tuple(ordered)
