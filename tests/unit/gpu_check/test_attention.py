"""How attention was built, from the manifest and from the names of layers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.gpu_check.attention import DECOMPOSED, FUSED, UNKNOWN, kind, layer_names, recorded


@pytest.mark.parametrize(
    ("build", "found"),
    [
        ({}, "unknown: the build recorded nothing"),
        ({"attention": "fused"}, "fused"),
        ({"attention": "decomposed"}, "decomposed"),
    ],
)
def test_what_the_build_recorded(build: dict[str, Any], found: str) -> None:
    """The record is a word or missing."""
    assert recorded({"builds": {"language_model": build}}) == found


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["gemm_1", "conv"], UNKNOWN), (["gemm", "_gemm_mha_v2"], FUSED),
        (["_gemm_mha_v2", "SoftMax_3"], DECOMPOSED), ([], UNKNOWN),
    ],
)  # fmt: skip
def test_kernels(names: list[str], found: str) -> None:
    """A separate softmax means that attention was decomposed."""
    assert kind(names) == found


def test_the_inspectors_json() -> None:
    """Layers are names, or objects if the plan was built with more detail."""
    layers = ["first", {"Name": "second", "TacticName": "sm90_mha", "Other": 1}]
    assert layer_names(json.dumps({"Layers": layers})) == ["first", "second sm90_mha"]
    assert layer_names("{}") == []
