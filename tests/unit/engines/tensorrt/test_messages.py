"""Errors of a build: the fix is for what TensorRT says."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_edge.engines.tensorrt.messages import Messages


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        # what TensorRT-RTX 1.7.1 says with --workspace 64K, and the third with 8M
        ("Error Code 1: Myelin (no tactics to implement the operation within workspace limit. "
         "Consider increase the allowed workspace size if applicable.)", "raise --workspace"),
        ("OutOfMemory (no memory for the tactic within workspace limit)", "raise --workspace"),
        ("Error Code 2: OutOfMemory (Requested size was 8910976 bytes.)", "raise --workspace"),
        ("[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (Requested size was "
         "268435456 bytes.)", "free memory"),
        ("Requested amount of GPU memory could not be allocated", "free memory"),
    ],
)  # fmt: skip
def test_memory(said: str, fix: str) -> None:
    """A limit that is too small is to be raised; only without a limit in the message is memory short."""
    found = Messages()
    found.add("ERROR", said)
    _, _, advice = str(found.build_error("TensorRT", Path("g.onnx"))).rpartition("); ")
    assert advice.startswith(fix)
