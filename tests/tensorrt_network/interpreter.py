"""Compute a parsed network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tests.tensorrt_network import (
    arithmetic,
    attention,
    products,
    quantization,
    reductions,
    shapes,
)
from tests.tensorrt_network.data_types import FLOATS, Array, rounded
from tests.tensorrt_network.network import Layer, Network, Tensor, UnknownError

#: Layer type -> the function that computes it from the layer and its inputs.
FUNCTIONS: dict[str, Callable[..., Array | tuple[Array, ...]]] = {
    "ACTIVATION": arithmetic.activation,
    "ASSERTION": arithmetic.assertion,
    "ATTENTION_INPUT": attention.attention_input,
    "ATTENTION_OUTPUT": attention.attention_output,
    "CAST": arithmetic.cast,
    "CONCATENATION": shapes.concatenation,
    "CONSTANT": shapes.constant,
    "CONVOLUTION": products.convolution,
    "DEQUANTIZE": quantization.dequantize,
    "ELEMENTWISE": arithmetic.elementwise,
    "FILL": shapes.fill,
    "GATHER": shapes.gather,
    "IDENTITY": arithmetic.identity,
    "KV_CACHE_UPDATE": attention.kv_cache_update,
    "MATRIX_MULTIPLY": products.matrix_multiply,
    "NORMALIZATION": reductions.normalization,
    "QUANTIZE": quantization.quantize,
    "REDUCE": reductions.reduce,
    "RESIZE": shapes.resize,
    "ROTARY_EMBEDDING": attention.rotary_embedding,
    "SELECT": arithmetic.select,
    "SHAPE": shapes.shape,
    "SHUFFLE": shapes.shuffle,
    "SLICE": shapes.slices,
    "SOFTMAX": reductions.softmax,
    "SQUEEZE": shapes.squeeze,
    "TOPK": reductions.topk,
    "UNARY": arithmetic.unary,
    "UNSQUEEZE": shapes.unsqueeze,
}

#: Called with each computed tensor; returns the value that later layers read.
Watch = Callable[[Tensor, Array], Array]


class Interpreter:
    """A network, ready to be run again and again.

    With ``fold``, everything that depends on constants alone is computed once, here, and is not watched.
    """

    def __init__(self, network: Network, *, fold: bool = True) -> None:
        self.network = network
        self._known: dict[str, Array] = {}
        self._layers: list[Layer] = []
        _check_caches(network)
        for layer in network.layers:
            if fold and all(name is None or name in self._known for name in layer.inputs):
                self._known.update(_run(layer, self._known))
            else:
                self._layers.append(layer)

    def run(self, feeds: Mapping[str, Array], watch: Watch | None = None) -> dict[str, Array]:
        """Return the outputs by name for inputs by name.

        Floating-point inputs and outputs are float32 arrays of numbers of their types. A cache that the
        network updates in place is updated in the given array, which is also the output.
        """
        values = dict(self._known)
        for tensor in self.network.inputs:
            values[tensor.name] = _checked(tensor, feeds[tensor.name])
        for layer in self._layers:
            made = _run(layer, values)
            if watch:
                made = {tensor.name: watch(tensor, made[tensor.name]) for tensor in layer.outputs}
            values.update(made)
        return {tensor.name: values[tensor.name] for tensor in self.network.outputs}


def _run(layer: Layer, values: Mapping[str, Array]) -> dict[str, Array]:
    inputs = (None if name is None else values[name] for name in layer.inputs)
    found = FUNCTIONS[layer.type](layer, *inputs)
    made = found if isinstance(found, tuple) else (found,)
    if len(made) != len(layer.outputs):
        raise UnknownError(f"{layer.name}: {len(made)} outputs instead of {len(layer.outputs)}")
    return {
        tensor.name: _checked(tensor, rounded(value, tensor.dtype))
        for tensor, value in zip(layer.outputs, made, strict=True)
    }


def _checked(tensor: Tensor, value: Array) -> Array:
    """Return ``value`` if it has the network's shape and the kind of its type; otherwise raise."""
    kind = "f" if tensor.dtype in FLOATS else "biu"
    fits = value.ndim == len(tensor.shape) and all(
        size in (-1, found) for size, found in zip(tensor.shape, value.shape, strict=True)
    )
    if not fits or value.dtype.kind not in kind or value.dtype == np.float64:
        raise UnknownError(
            f"{tensor.name}: {value.dtype}{list(value.shape)} is not the network's "
            f"{tensor.dtype}{list(tensor.shape)}"
        )
    return value


def _check_caches(network: Network) -> None:
    """Reject another reader of a cache that is updated in place: it might run after the update."""
    updated = {
        layer.inputs[0]: layer.name for layer in network.layers if layer.type == "KV_CACHE_UPDATE"
    }
    for layer in network.layers:
        for name in layer.inputs:
            if name in updated and updated[name] != layer.name and layer.type != "SHAPE":
                raise UnknownError(f"{layer.name}: reads {name}, which {updated[name]} overwrites")
