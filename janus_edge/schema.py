"""The one border where JSON becomes typed, frozen dataclasses, and back.

:func:`from_dict` accepts exactly what the dataclass declares: an unknown key, a missing key or a
value of another type is an error that names its path (``model.vision.layers``).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def from_dict(cls: type[T], data: Any, *, error: Callable[[str], Exception], where: str = "") -> T:
    """Build the dataclass ``cls`` from ``data`` (what ``json.load`` returned).

    ``error`` makes the exception to raise from a message; ``where`` is the path so far.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if not isinstance(data, Mapping):
        raise error(f"{where or 'top level'}: expected an object, found {type(data).__name__}")
    for key in data:
        if key not in fields:
            raise error(f"unknown key '{_join(where, key)}'; known keys: {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _value(hints[name], data[name], error, _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise error(f"missing key '{_join(where, name)}'")
    try:
        return cls(**values)
    except ValueError as invalid:
        raise error(f"{where or 'top level'}: {invalid}") from invalid


def to_dict(value: Any) -> Any:
    """The JSON form of a dataclass built from plain values (tuples become lists)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_dict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dict(v) for v in value]
    return value


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)


def _value(hint: Any, data: Any, error: Callable[[str], Exception], where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return data
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, data, error=error, where=where)  # type: ignore[arg-type]
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in args:
            return None
        options = [a for a in args if a is not type(None)]
        for option in options:
            if isinstance(option, type) and type(data) is option:
                return data
        return _value(options[0], data, error, where)
    if origin is tuple:
        if not isinstance(data, (list, tuple)):
            raise error(f"{where}: expected a list, found {type(data).__name__}")
        return tuple(_value(args[0], v, error, f"{where}[{i}]") for i, v in enumerate(data))
    if origin is dict:
        if not isinstance(data, Mapping):
            raise error(f"{where}: expected an object, found {type(data).__name__}")
        return {str(k): _value(args[1], v, error, _join(where, str(k))) for k, v in data.items()}
    if hint is float and type(data) is int:
        try:
            return float(data)
        except OverflowError as large:
            raise error(f"{where}: too large for a float") from large
    if not isinstance(data, hint) or (hint is int and isinstance(data, bool)):
        raise error(f"{where}: expected {hint.__name__}, found {type(data).__name__} {data!r}")
    return data
