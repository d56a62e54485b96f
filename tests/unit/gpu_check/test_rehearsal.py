"""The whole command on fakes, with each command in its own process.

Plans compute what NVIDIA's parser made of the graphs, so nothing can be rehearsed without tensorrt-rtx.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "tensorrt_rtx", reason="plans are computed from what its parser makes of graphs"
)

from benchmarks.gpu_check.processes import ROOT


@pytest.fixture(scope="module")
def prepared(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare a folder with ``tiny_bundle`` in the miniature's place, to be quick."""
    folder = tmp_path_factory.mktemp("prepared")
    shutil.copytree(tiny_bundle, folder / "miniature-fp32")
    (folder / "miniature.npz").write_bytes(b"")  # PyTorch's run is not compared here
    return folder


def rehearse(prepared: Path, out: Path, what: str, targets: str) -> tuple[int, Any, str]:
    """Run the rehearsal; return the exit code, the report and what was printed."""
    words = ["--rehearse", what, "--prepared", prepared, "--out", out, "--targets", targets]
    more = ["--precisions", "fp32", "--seconds", "0.1", "--total", "600"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", *map(str, [*words, *more])],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    report = json.loads((out / "rehearsal-gpu-check-rehearsal.json").read_text("utf-8"))
    return done.returncode, report, done.stdout


def states(report: Any) -> dict[tuple[str, str], str]:
    """Return the state of each check; PyTorch's run needs the miniature, which is missing."""
    return {
        (c["target"], c["name"]): c["state"] for c in report["checks"] if "PyTorch" not in c["name"]
    }


@pytest.mark.slow
def test_all_is_right(prepared: Path, tmp_path: Path) -> None:
    """Every check of every flavour passes, codes are the CPU's, and the report is marked a rehearsal."""
    code, report, printed = rehearse(prepared, tmp_path, "right", "ort-cuda,tensorrt,tensorrt-rtx")
    found = states(report)
    assert {key for key, state in found.items() if state != "passed"} == {("ort-cuda", "attention")}
    assert len(found) == 3 * 5
    paintings = [c["figures"] for c in report["checks"] if c["name"] == "painting"]
    assert {p["verdict"] for p in paintings} <= {"equal", "rounding"}
    steps = [c["figures"] for c in report["checks"] if c["name"] == "step"]
    assert all(s["bytes_per_step"] > 0 and s["copy_bytes_per_second"] > 0 for s in steps)
    assert report["warning"].startswith("REHEARSAL")
    assert printed.splitlines()[0].startswith("REHEARSAL")
    with zipfile.ZipFile(tmp_path / "rehearsal-gpu-check-rehearsal.zip") as sent:
        said = sent.read("commands.txt").decode()
    assert str(prepared) not in said
    assert "$ janus_edge build PREPARED/miniature-fp32" in said
    assert code == any(c["state"] == "failed" for c in report["checks"])


def test_wrong_attention(prepared: Path, tmp_path: Path) -> None:
    """Steps that attend only to the first position are found, not put down to rounding, and exit with 1."""
    code, report, printed = rehearse(prepared, tmp_path, "wrong-attention", "tensorrt-rtx")
    (painting,) = (c for c in report["checks"] if c["name"] == "painting")
    assert painting["state"] == "failed"
    assert painting["reason"].startswith("attention wrong")
    assert painting["figures"]["last_position_seen"] < 1e-3
    assert states(report)["tensorrt-rtx", "step"] == "passed"
    assert "attention wrong" in printed
    assert code == 1
