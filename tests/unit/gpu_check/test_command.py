"""The whole command on a machine without a GPU, and with one that is made up."""

from __future__ import annotations

import json
import signal
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
    """Each target is absent with the reason, nothing runs, and no file is written."""
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
    """All targets run in all precisions, the most informative first; the device names the report."""
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
    assert "is not one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--total", "0"], "--total: '0' is not a positive number of seconds"),
        (["--total", "-5"], "--total: '-5' is not a positive number of seconds"),
        (["--timeout", "nan"], "--timeout: 'nan' is not a positive"),
        (["--timeout", "-1"], "--timeout: '-1' is not a positive"),
        (["--seconds", "nan"], "--seconds: 'nan' is not a positive"),
        (["--seconds", "inf"], "--seconds: 'inf' is not a positive"),
        (["--repetitions", "0"], "--repetitions: '0' is not a positive whole number"),
        (["--out", __file__], "is not a folder; name another folder"),
        (["--out", f"{__file__}/below"], "is not a folder; name another folder"),
        (["--size", "tiny", "--precisions", "fp16,fp32"],
         "--precisions fp32: --size tiny has fp16, int8, int4-weight"),
    ],
)  # fmt: skip
def test_what_is_refused(
    run: FakeRun, arguments: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, before anything runs."""
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert run.calls == []


def test_a_folder_that_may_not_be_written(
    run: FakeRun,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Refused before anything runs; a new folder below one that may be written is not made yet."""
    device(monkeypatch, NO_GPU)
    assert command.main(["--out", str(tmp_path / "a" / "b")]) == 0
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr("os.access", lambda *_words: False)  # root may write everywhere
    with pytest.raises(SystemExit, match="2"):
        command.main(["--out", str(tmp_path / "a")])
    assert f"{tmp_path} cannot be written to" in capsys.readouterr().err


def test_the_help_gives_limits_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Not as Python prints them."""
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "[300 s, 1800 s with --size 1b]" in text
    assert "[150 s, 600 s with --size 1b]" in text


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, "gpu-check: interrupted\n"),
        (signal.SIGTERM, 143, "gpu-check: ended by SIGTERM\n"),
    ],
)
def test_an_interrupt(
    run: FakeRun,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
    line: str,
) -> None:
    """The finished checks are reported, in files that replace no complete report."""
    device(monkeypatch, DEVICE)

    def interrupted(module: str, words: Sequence[str | Path]) -> Outcome:
        if module.endswith("step_time"):
            signal.raise_signal(number)
        return run(module, words)

    monkeypatch.setattr(command, "Processes", lambda *_words, **_named: interrupted)
    assert command.main(["--targets", "tensorrt"]) == code
    printed = capsys.readouterr()
    assert printed.err == line
    assert "interrupted: the finished checks only" in printed.out
    stem = "gpu-check-interrupted-nvidia-fake-9000"
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == [f"{stem}.json", f"{stem}.md", f"{stem}.zip"]
    report = json.loads((tmp_path / "results" / f"{stem}.json").read_text("utf-8"))
    assert report["interrupted"] is True
    assert [check["name"] for check in report["checks"]] == ["build", "painting"]
    text = (tmp_path / "results" / f"{stem}.md").read_text("utf-8")
    assert "**interrupted: the finished checks only**" in text


def test_an_early_interrupt(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first check: one line, and no report."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "find_device", interrupt)
    assert command.main([]) == 130
    assert capsys.readouterr().err == "gpu-check: interrupted\n"


def test_rehearsals_are_no_results(capsys: pytest.CaptureFixture[str]) -> None:
    """A rehearsal needs a folder for its report, which must not lie among results."""
    with pytest.raises(SystemExit, match="2"):
        command.main(["--rehearse"])
    assert "its figures are not results" in capsys.readouterr().err


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
