"""The whole command on a machine without a GPU, and with one that is made up."""

from __future__ import annotations

import zipfile
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
    monkeypatch.setattr(command, "Processes", lambda *_words, **_named: fake)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(command, "marked_files", list)
    return fake


def device(monkeypatch: pytest.MonkeyPatch, found: Device | str) -> None:
    monkeypatch.setattr(command, "find_device", lambda: found)
    why = found if isinstance(found, str) else None
    monkeypatch.setattr(
        command, "why_not", lambda target, _d, asked: None if target == "ort-cpu" else why
    )


def test_without_a_gpu(
    run: FakeRun,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each target is absent with the reason, nothing is run, no file is written."""
    device(monkeypatch, NO_GPU)
    assert command.main([]) == 0
    printed = capsys.readouterr().out
    for target in TARGET_NAMES[1:]:
        assert f"skipped  {target} target: {NO_GPU}" in printed
        assert f"absent   {target}: {NO_GPU}" in printed
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
    """All targets in all precisions, the most telling first; the report is named by the device."""
    device(monkeypatch, DEVICE)
    assert command.main([]) == 0
    names = [p.name for p in (tmp_path / "results").iterdir()]
    stem = "gpu-check-nvidia-fake-9000"
    assert sorted(names) == [f"{stem}.json", f"{stem}.md", f"{stem}.zip"]
    kinds = run.kinds()
    targets = len(TARGET_NAMES) - 1
    assert kinds.count("painting") == kinds.count("step_time") == 3 * targets
    assert kinds.count("export") == 2, "fp16 for all, fp32 for PyTorch's run"
    assert kinds.index("language_step") > [i for i, k in enumerate(kinds) if k == "painting"][3]
    assert "cpu" not in kinds
    assert " failed, " in capsys.readouterr().out
    command.main(["--full"])
    assert run.kinds().count("cpu") == run.kinds().count("bench") == 3 * targets


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
        "gpu-check-none.json", "gpu-check-none.md", "gpu-check-none.zip",
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [["--targets", "tensorrt,cuda"], ["--precisions", "int3"]])
def test_unknown_names(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything runs, with the names that there are."""
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert "is none of" in capsys.readouterr().err


def test_rehearsals_are_no_results(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a folder for its report one is refused: it must not lie among results."""
    with pytest.raises(SystemExit, match="2"):
        command.main(["--rehearse"])
    assert "its figures are no results" in capsys.readouterr().err


def test_what_is_sent(run: FakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file of the archive has the folder that was given, with its spaces."""
    device(monkeypatch, DEVICE)
    command.main(["--prepared", str(tmp_path / "Acme Corp" / "Project Zeus")])
    with zipfile.ZipFile(next((tmp_path / "results").glob("*.zip"))) as sent:
        texts = {name: sent.read(name).decode() for name in sent.namelist()}
    assert len(texts) == 3
    for name, text in texts.items():
        assert not [word for word in ("Acme", "Zeus") if word in text], name
        assert "PREPARED" in text, name
