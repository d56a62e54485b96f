"""The whole command on a machine without a GPU, and with one that is made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.gpu_check import command
from benchmarks.gpu_check.processes import Outcome
from benchmarks.gpu_check.report import Device
from janus_edge.engines.target_names import TARGET_NAMES
from tests.unit.gpu_check.fakes import DEVICE, FakeRun, failed

NO_GPU = "no GPU can be used: there is no NVIDIA driver"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRun:
    """Fake commands, and results that go nowhere else."""
    fake = FakeRun({"pytest": Outcome(1, "", "no results", 0.1)})
    monkeypatch.setattr(command, "Processes", lambda _timeout, _environment: fake)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(command, "marked_files", list)
    return fake


def device(monkeypatch: pytest.MonkeyPatch, found: Device | str) -> None:
    monkeypatch.setattr(command, "find_device", lambda: found)
    why = found if isinstance(found, str) else None
    monkeypatch.setattr(command, "why_not", lambda target, _d: None if target == "ort-cpu" else why)


def test_without_a_gpu(
    run: FakeRun,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each check of each target is skipped with the reason, nothing is run, no file is written."""
    device(monkeypatch, NO_GPU)
    assert command.main([]) == 0
    printed = capsys.readouterr().out
    for target in TARGET_NAMES[1:]:
        assert f"skipped  {target} build: {NO_GPU}" in printed
        assert f"skipped  {target} memory: {NO_GPU}" in printed
    assert "0 passed, 0 failed" in printed
    assert run.calls == []
    assert not (tmp_path / "results").exists()
    assert command.main(["--require-gpu"]) == 3


def test_with_a_gpu(
    run: FakeRun,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All targets in both precisions; the report is named by the device."""
    device(monkeypatch, DEVICE)
    assert command.main([]) == 0
    names = [p.name for p in (tmp_path / "results").iterdir()]
    assert sorted(names) == ["gpu-check-nvidia-fake-9000.json", "gpu-check-nvidia-fake-9000.md"]
    builds = [call for call in run.calls if call[1] == "build"]
    assert len(builds) == 2 * (len(TARGET_NAMES) - 1)
    assert sum(call[1] == "export" for call in run.calls) == 3
    assert " failed, " in capsys.readouterr().out


def test_a_failure(run: FakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit code 1, and the report is written: it tells what failed."""
    device(monkeypatch, DEVICE)
    run.outcomes["build"] = failed(10, "cannot build the engine")
    assert command.main(["--targets", "tensorrt", "--precisions", "fp16"]) == 1
    text = (tmp_path / "results" / "gpu-check-nvidia-fake-9000.md").read_text("utf-8")
    assert "| tensorrt | miniature-fp16 | build | failed | 0.5 | cannot build the engine |" in text


def test_trying_it_on_a_processor(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--targets ort-cpu` runs without a GPU, and writes a report only where it is told to."""
    device(monkeypatch, NO_GPU)
    arguments = ["--targets", "ort-cpu", "--precisions", "fp32"]
    assert command.main(arguments) == 0
    assert not (tmp_path / "results").exists()
    assert command.main([*arguments, "--out", str(tmp_path / "own")]) == 0
    assert sorted(p.name for p in (tmp_path / "own").iterdir()) == [
        "gpu-check-none.json", "gpu-check-none.md",
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [["--targets", "tensorrt,cuda"], ["--precisions", "int3"]])
def test_unknown_names(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything runs, with the names that there are."""
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert "is none of" in capsys.readouterr().err
