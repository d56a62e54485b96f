"""The checks at the 1B's dimensions time every precision and do not try what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu_check import command
from benchmarks.gpu_check.engine_commands import EngineCommands
from benchmarks.gpu_check.random_checks import EVERY, RandomChecks
from benchmarks.gpu_check.random_models import RandomModels
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check
from benchmarks.gpu_check.table import model_lines, rows
from tests.unit.gpu_check.fakes import DEVICE, FakeRun, bundle, failed


def made(tmp_path: Path, run: FakeRun, memory_mib: int | None = 24576) -> list[Check]:
    models = RandomModels(tmp_path, run)
    checks = RandomChecks(EngineCommands("tensorrt", DEVICE, run, tmp_path), models, memory_mib)
    found = [*checks.of("fp16")]
    assert tuple(check.name for check in found) == EVERY
    return [*found, checks.capacity("fp16")]


def test_all_pass(tmp_path: Path) -> None:
    """The report has a whole step, the language model alone, a prefill and a VQ decode."""
    run = FakeRun()
    found = made(tmp_path, run)
    assert {check.state for check in found} == {PASSED}
    (row,) = rows(found)
    assert (row["bundle"], row["step ms"], row["verdict"]) == ("1b-fp16", "2.000", "")
    (line,) = model_lines(found)
    assert "1.001 ms at position 330, prefill of 620 tokens 50.0 ms, VQ decode 20.0 ms" in line
    builds = [c for c in run.calls if c[1] == "build"]
    assert "rows=2,prefill=64:640,capacity=640" in builds[0]
    assert len(builds) == 3


def test_what_does_not_fit(tmp_path: Path) -> None:
    """A bundle too large for the GPU is not built; if the GPU's memory is unknown, it is tried."""
    with (bundle(tmp_path / "1b-fp16") / "weights").open("wb") as file:
        file.truncate(4 << 30)
    run = FakeRun()
    found = made(tmp_path, run, 8192)
    assert {check.state for check in found} == {SKIPPED}
    assert found[0].reason == "building may take 11776 MiB, the GPU has 8192"
    assert run.calls == []
    assert made(tmp_path, FakeRun(), None)[0].state == PASSED


@pytest.mark.parametrize(
    ("error", "state"), [("No module named 'torch'", SKIPPED), ("the disk is full", FAILED)]
)
def test_without_bundles(tmp_path: Path, error: str, state: str) -> None:
    """Without PyTorch the checks are skipped, with the command that makes the bundles."""
    found = made(tmp_path, FakeRun({"random_bundles": failed(1, error)}))
    assert found[0].state == state
    assert "make 1b-fp16 on a machine with PyTorch" in found[0].reason
    assert {check.state for check in found[1:]} == {SKIPPED}


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--size 1b` makes no check of the miniature, and its report has its own name."""
    run = FakeRun()
    monkeypatch.setattr(command, "Processes", lambda *_words, **_named: run)
    monkeypatch.setattr(command, "find_device", lambda: replace(DEVICE, memory_mib=None))
    monkeypatch.setattr(command, "why_not", lambda *_words, **_named: None)
    words = ["--size", "1b", "--targets", "tensorrt-rtx", "--out", str(tmp_path / "out")]
    assert command.main(words) == 0
    assert (tmp_path / "out" / "gpu-check-1b-nvidia-fake-9000.json").is_file()
    assert not {"painting", "reference", "export", "torch"} & {*run.kinds()}
    assert run.kinds().count("decode_time") == 3
    assert "1b-int4-weight" in capsys.readouterr().out


@pytest.mark.slow
def test_real_bundles(tmp_path: Path) -> None:
    """The bundles open, their hashes are right, and the float one paints finite codes."""
    from benchmarks.gpu_check.random_bundles import main
    from benchmarks.gpu_check.reference import PlainBackend
    from benchmarks.gpu_check.steps import forced
    from janus_edge.bundle import Bundle
    from janus_edge.runtime.pipeline import Janus

    assert main([str(tmp_path), "--dimensions", "tiny"]) == 0
    for precision in ("fp16", "int8", "int4-weight"):
        opened = Bundle.open(tmp_path / f"tiny-{precision}")
        opened.verify()
        assert opened.manifest.recipe.name == precision
        with Janus(opened, PlainBackend(opened)) as janus:
            _, logits = forced(janus, "a fox", 0, count=3)
        assert np.isfinite(logits).all()
    size = (tmp_path / "tiny-fp16" / "graphs" / "language_model.weights").stat().st_size
    assert size > (tmp_path / "tiny-int8" / "graphs" / "language_model.weights").stat().st_size


def test_a_precision_that_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """fp32 is refused with the names that there are, before weights are drawn."""
    pytest.importorskip("torch")
    from benchmarks.gpu_check.random_bundles import main

    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--dimensions", "tiny", "--precisions", "fp16,fp32"])
    assert "'fp32' is not one of fp16, int8, int4-weight" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []
