"""A network as text."""

from __future__ import annotations

from typing import Any

from janus_edge.engines.tensorrt.dump import dump_network, precisions
from tests.unit.engines.tensorrt.fakes import Enum, Layer, Network, tensor


def network() -> Any:
    x, y, z = tensor("x", -1, 8), tensor("y", -1, 8, dtype="FLOAT"), tensor("z", -1, dtype="INT64")
    layers = [
        Layer(Enum("CAST"), "widen", [x], [y]),
        Layer(Enum("TOPK"), "best", [y, None], [z]),
        Layer(Enum("ASSERTION"), "sure", [z], []),
        Layer(Enum("CAST"), "widen again", [x], [y]),
    ]
    return Network([x], layers, [z])


def test_dump() -> None:
    """Types, names, precisions and shapes; sizes that vary and inputs that are absent."""
    assert dump_network(network()) == (
        "input  x HALF[?,8]\n"
        "    0  CAST widen [FLOAT] (x HALF[?,8]) -> y FLOAT[?,8]\n"
        "    1  TOPK best [INT64] (y FLOAT[?,8], -) -> z INT64[?]\n"
        "    2  ASSERTION sure [-] (z INT64[?]) -> \n"
        "    3  CAST widen again [FLOAT] (x HALF[?,8]) -> y FLOAT[?,8]\n"
        "output z INT64[?]\n"
    )


def test_precisions() -> None:
    assert precisions(network()) == {"ASSERTION -": 1, "CAST FLOAT": 2, "TOPK INT64": 1}
