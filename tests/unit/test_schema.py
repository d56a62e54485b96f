"""JSON to dataclasses and back: exactly what is declared, or an error that names the place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_edge.schema import from_dict, to_dict


class SchemaError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Inner:
    count: int
    ratio: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count must not be negative, found {self.count}")


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    inner: Inner
    flag: bool
    shape: tuple[int | str, ...]
    parts: dict[str, Inner]
    figure: float | None = None
    rows: tuple[Inner, ...] = field(default_factory=tuple)


GOOD: dict[str, Any] = {
    "name": "n",
    "inner": {"count": 1},
    "flag": True,
    "shape": ["B", 3],
    "parts": {"a": {"count": 2, "ratio": 1}},
    "figure": 2,
    "rows": [{"count": 3}],
}


def read(data: Any) -> Outer:
    return from_dict(Outer, data, error=SchemaError)


def test_good() -> None:
    """Every declared kind of value is read, lists as tuples, integers as floats where declared."""
    outer = read(GOOD)
    parts = {"a": Inner(2, 1.0)}
    assert outer == Outer("n", Inner(1), True, ("B", 3), parts, 2.0, (Inner(3),))
    assert type(outer.figure) is type(outer.parts["a"].ratio) is float


def test_defaults_may_be_left_out() -> None:
    """A field with a default may be absent, and None is a value only where it is declared."""
    assert read({k: v for k, v in GOOD.items() if k not in ("figure", "rows")}).figure is None
    assert read({**GOOD, "figure": None}).figure is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "unknown key 'extra'; known keys: name, inner"),
        ({"inner": {"count": 1, "extra": 1}}, r"unknown key 'inner\.extra'; known keys: count"),
        ({"parts": {"a": {"count": 1, "x": 1}}}, r"unknown key 'parts\.a\.x'"),
        ({"rows": [{"count": 1}, {"count": 1, "x": 1}]}, r"unknown key 'rows\[1\]\.x'"),
        ({"inner": {}}, r"missing key 'inner\.count'"),
        ({"name": 3}, "name: expected str, found int 3"),
        ({"name": None}, "name: expected str, found NoneType"),
        ({"inner": {"count": "1"}}, r"inner\.count: expected int, found str '1'"),
        ({"inner": {"count": 1.0}}, r"inner\.count: expected int, found float"),
        ({"inner": {"count": True}}, r"inner\.count: expected int, found bool"),
        ({"inner": {"count": 1, "ratio": False}}, r"inner\.ratio: expected float, found bool"),
        ({"inner": {"count": 1, "ratio": 10**400}}, r"inner\.ratio: too large"),
        ({"inner": [1]}, "inner: expected an object, found list"),
        ({"flag": 1}, "flag: expected bool, found int"),
        ({"shape": "B3"}, "shape: expected a list, found str"),
        ({"shape": ["B", 3.5]}, r"shape\[1\]: expected int, found float"),
        ({"shape": ["B", True]}, r"shape\[1\]: expected int, found bool"),
        ({"parts": [1]}, "parts: expected an object, found list"),
        ({"parts": {"a": None}}, r"parts\.a: expected an object, found NoneType"),
        ({"figure": "2"}, "figure: expected float, found str"),
        ({"inner": {"count": -1}}, "inner: count must not be negative, found -1"),
    ],
)
def test_errors_name_the_place(change: dict[str, Any], message: str) -> None:
    """One wrong value in otherwise good data is an error with its path."""
    read(GOOD)
    with pytest.raises(SchemaError, match=message):
        read({**GOOD, **change})


@pytest.mark.parametrize("data", [None, 1, "x", [], [["name", "n"]]])
def test_not_an_object(data: Any) -> None:
    """What is not an object at the top is an error."""
    with pytest.raises(SchemaError, match="top level: expected an object, found"):
        read(data)


inner = st.builds(Inner, st.integers(0, 10**20), st.floats(allow_nan=False, allow_infinity=False))


@given(
    st.builds(
        Outer,
        st.text(),
        inner,
        st.booleans(),
        st.lists(st.integers() | st.text()).map(tuple),
        st.dictionaries(st.text(), inner),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.lists(inner).map(tuple),
    )
)
def test_round_trip(outer: Outer) -> None:
    """Writing as JSON and reading back gives an equal value."""
    assert read(json.loads(json.dumps(to_dict(outer)))) == outer
