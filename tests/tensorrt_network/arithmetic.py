"""Layers that compute each element by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import erf

from tests.tensorrt_network.data_types import INTEGERS, Array
from tests.tensorrt_network.network import Layer, UnknownError


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    return np.asarray(np.trunc(a / b)).astype(a.dtype)  # towards zero, as C does


_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "SUM": np.add,
    "PROD": np.multiply,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "SUB": np.subtract,
    "DIV": _divide,
    "POW": np.power,
    "FLOOR_DIV": np.floor_divide,
    "AND": np.logical_and,
    "OR": np.logical_or,
    "XOR": np.logical_xor,
    "EQUAL": np.equal,
    "GREATER": np.greater,
    "LESS": np.less,
}

_UNARY: dict[str, Callable[[Array], Array]] = {
    "EXP": np.exp,
    "LOG": np.log,
    "SQRT": np.sqrt,
    "RECIP": lambda x: np.asarray(1 / x),
    "ABS": np.abs,
    "NEG": np.negative,
    "SIN": np.sin,
    "COS": np.cos,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "ERF": erf,
    "NOT": np.logical_not,
    "ROUND": np.rint,  # ties to even
}


def _gelu_tanh(x: Array) -> Array:
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)
    return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "SIGMOID": lambda x: np.asarray(1 / (1 + np.exp(-x))),
    "TANH": np.tanh,
    "RELU": lambda x: np.maximum(x, 0),
    "GELU_ERF": lambda x: np.asarray(np.float32(0.5) * x * (1 + erf(x * np.float32(0.5**0.5)))),
    "GELU_TANH": _gelu_tanh,
}


def elementwise(layer: Layer, a: Array, b: Array) -> Array:
    """Operands have equal ranks; sizes of 1 are broadcast."""
    if a.ndim != b.ndim or a.dtype != b.dtype:
        raise UnknownError(f"{layer.name}: {a.dtype}{a.shape} with {b.dtype}{b.shape}")
    return np.asarray(_known(_BINARY, layer, "op")(a, b))


def unary(layer: Layer, x: Array) -> Array:
    return np.asarray(_known(_UNARY, layer, "op")(x))


def activation(layer: Layer, x: Array) -> Array:
    return np.asarray(_known(_ACTIVATIONS, layer, "type")(x))


def select(layer: Layer, condition: Array, then: Array, otherwise: Array) -> Array:
    if condition.dtype != np.bool_ or then.dtype != otherwise.dtype:
        raise UnknownError(f"{layer.name}: selects by {condition.dtype} from other types")
    return np.where(condition, then, otherwise)


def cast(layer: Layer, x: Array) -> Array:
    """Cast to a type. Floats are truncated to integers; the interpreter rounds to float types."""
    to_type = layer.attributes["to_type"]
    if to_type in ("FLOAT", "HALF", "BF16"):
        return x.astype(np.float32)
    if to_type in INTEGERS and to_type != "INT4":
        return x.astype(INTEGERS[to_type])
    raise UnknownError(f"{layer.name}: casts to {to_type}")


def identity(layer: Layer, x: Array) -> Array:
    return x


def assertion(layer: Layer, condition: Array) -> tuple[Array, ...]:
    if not condition.all():
        raise AssertionError(f"{layer.name}: {layer.attributes['message']}")
    return ()


def _known(table: dict[str, Callable[..., Array]], layer: Layer, name: str) -> Callable[..., Array]:
    value = layer.attributes[name]
    if value not in table:
        raise UnknownError(f"{layer.name}: no semantics for {name} = {value}")
    return table[value]
