"""A TensorRT whose parser lacks operators of canonical graphs is refused with what helps its target."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from janus_edge.engines.tensorrt.api import load
from janus_edge.engines.tensorrt_target import TensorRTTarget
from janus_edge.errors import EngineError
from tests.unit.runtime.fakes import CONFIG


@pytest.mark.parametrize(
    ("target", "module", "fix"),
    [
        ("tensorrt", "tensorrt", "build with --target tensorrt-10.3, or install TensorRT 10.15"),
        ("tensorrt-rtx", "tensorrt_rtx", r"pip install --upgrade 'janus-edge\[rtx\]'$"),
    ],
)
def test_without_attention(
    monkeypatch: pytest.MonkeyPatch, target: str, module: str, fix: str
) -> None:
    """TensorRT-RTX is updated: TensorRT builds no engine of that target."""
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(__version__="1.2.0.5"))
    with pytest.raises(EngineError, match=f"1.2.0.5 has no attention .*{fix}") as error:
        TensorRTTarget(target, CONFIG)._check_version(load(target))
    assert ("10.15" in str(error.value)) == (target == "tensorrt")
