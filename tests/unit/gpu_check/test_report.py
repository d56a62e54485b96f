"""The report: its files, its counts, and that it says nothing it does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check, Report
from janus_edge.errors import InputError
from tests.unit.bench.reports import MACHINE
from tests.unit.gpu_check.fakes import DEVICE

CHECKS = (
    Check(
        "tensorrt",
        "miniature-fp32",
        "build",
        PASSED,
        "",
        {"build_seconds": 2, "a": {"b": [1.5, None]}},
        12.34,
    ),
    Check("tensorrt", "miniature-fp32", "latency", FAILED, "said | this\nand that"),
    Check("ort-cuda", "", "build", SKIPPED, "no provider"),
)
REPORT = Report("2026-11-23", MACHINE, {"janus-edge": "1"}, DEVICE, CHECKS)


def test_files(tmp_path: Path) -> None:
    """JSON and markdown by the device's name, whole; written again they are replaced."""
    for _ in range(2):
        paths = REPORT.write(tmp_path / "results")
    assert [p.name for p in paths] == [
        "gpu-check-nvidia-fake-9000.json", "gpu-check-nvidia-fake-9000.md",
    ]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == [p.name for p in paths]
    data = json.loads(paths[0].read_text("utf-8"))
    assert data["kind"] == "janus-edge gpu-check"
    assert data["device"]["compute_capability"] == "8.9"
    assert [c["state"] for c in data["checks"]] == [PASSED, FAILED, SKIPPED]
    text = paths[1].read_text("utf-8")
    assert "NVIDIA Fake 9000, compute capability 8.9, CUDA 13.0, driver 580.1, 24576 MiB" in text
    assert "| tensorrt | miniature-fp32 | latency | failed | 0.0 | said \\| this and that |" in text
    assert "| a.b[0] | 1.5 |" in text
    assert "1 passed, 1 failed, 1 skipped" in text


def test_what_ran() -> None:
    assert REPORT.ran
    assert not replace(REPORT, checks=CHECKS[2:]).ran
    assert REPORT.counts == {PASSED: 1, FAILED: 1, SKIPPED: 1}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Nothing half-written stays behind."""
    (tmp_path / f"{REPORT.stem}.json").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        REPORT.write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [f"{REPORT.stem}.json"]


@pytest.mark.parametrize(
    ("state", "reason"), [("ok", ""), (PASSED, "why"), (FAILED, ""), (SKIPPED, "")]
)
def test_checks_that_cannot_be(state: str, reason: str) -> None:
    """What failed or was skipped says why; what passed does not."""
    with pytest.raises(ValueError, match="state must be|a reason is told"):
        Check("t", "b", "build", state, reason)
