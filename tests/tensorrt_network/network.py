"""A parsed network as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any


class UnknownError(Exception):
    """A layer type, attribute or value without semantics in the interpreter."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's name, the name of its TensorRT type, and its shape; a size of -1 comes from the profile."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer; ``type`` is TensorRT's name for it, and an absent optional input is None.

    ``attributes`` use the binding's names: enums become the names of their members, dimensions become
    tuples, weights become arrays.
    """

    name: str
    type: str
    inputs: tuple[str | None, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Network:
    """Inputs, outputs and layers; each layer comes after those that it reads."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layers: tuple[Layer, ...]


def in_order(inputs: tuple[Tensor, ...], layers: list[Layer]) -> tuple[Layer, ...]:
    """Sort ``layers`` so that each comes after those that it reads; the parser uses another order."""
    maker: dict[str, int | None] = {tensor.name: None for tensor in inputs}
    for index, layer in enumerate(layers):
        for tensor in layer.outputs:
            if tensor.name in maker:
                raise UnknownError(f"{layer.name}: {tensor.name} is the name of two tensors")
            maker[tensor.name] = index
    reads = dict[int, set[int]]()
    for index, layer in enumerate(layers):
        sources = [name for name in layer.inputs if name is not None]
        unknown = [name for name in sources if name not in maker]
        if unknown:
            raise UnknownError(f"{layer.name}: reads {unknown[0]}, which no layer makes")
        reads[index] = {found for name in sources if (found := maker[name]) is not None}
    return tuple(layers[index] for index in TopologicalSorter(reads).static_order())
