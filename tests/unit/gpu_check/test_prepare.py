"""A folder for a machine without a network: what is downloaded, and the environment made of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.gpu_check import environment, prepare
from benchmarks.gpu_check.processes import Outcome
from tests.unit.gpu_check.fakes import FakeRun, failed

PROJECT = {
    "dependencies": ["numpy>=1.26"],
    "optional-dependencies": {
        "cpu": ["onnxruntime>=1.31"], "engines": ["onnx>=1.23", "numpy>=1.26"],
        "dev": ["pytest==9.2.0", "ruff==1"],
    },
}  # fmt: skip


def test_requirements() -> None:
    """Each once, with the test runner; an extra that is not there is named."""
    wanted = ["numpy>=1.26", "onnxruntime>=1.31", "onnx>=1.23", "pytest==9.2.0"]
    assert prepare.requirements(PROJECT, ["cpu", "engines"]) == wanted
    with pytest.raises(SystemExit, match="no extra 'gpus': choose from cpu, engines, dev"):
        prepare.requirements(PROJECT, ["gpus"])


def test_for_another_machine(tmp_path: Path) -> None:
    """pip is told the Python and the platforms; for this one neither."""
    run = FakeRun()
    prepare.download(run, tmp_path, None, "x86_64")
    prepare.download(run, tmp_path, "3.12", "aarch64")
    own, other = run.calls
    assert "--platform" not in own
    assert " ".join(own).startswith("pip wheel ")
    assert " ".join(other).startswith("pip download ")
    assert other[other.index("--python-version") + 1] == "3.12"
    assert "manylinux_2_28_aarch64" in other
    run = FakeRun({"pip": failed(1, "no network")})
    for python in (None, "3.12"):
        with pytest.raises(SystemExit, match="cannot bring the wheels .*no network"):
            prepare.download(run, tmp_path, python, "x86_64")


def test_packages_without_a_wheel(tmp_path: Path) -> None:
    """One is made of them here, once; what that does not help is an error."""
    lacking, calls = ["tensorrt-rtx>=1.7", "tensorrt-rtx-cu13==1.7"], list[list[str]]()

    def run(module: str, words: Sequence[str | Path]) -> Outcome:
        calls.append([*map(str, words)])
        if words[0] == "wheel":
            if words[-1] == lacking[0]:
                lacking.pop(0)
            return Outcome(0, "", "", 1.0)
        if not lacking:
            return Outcome(0, "", "", 1.0)
        return failed(1, f"No matching distribution found for {lacking[0]}")

    prepare.download(run, tmp_path, "3.12", "x86_64")
    made = [words[-1] for words in calls if words[0] == "wheel"]
    assert made == ["tensorrt-rtx>=1.7", "tensorrt-rtx-cu13==1.7"]
    run_of = FakeRun({"pip": failed(1, "No matching distribution found for x")})
    with pytest.raises(SystemExit, match="found for x"):
        prepare.download(run_of, tmp_path, "3.12", "x86_64")
    assert len(run_of.calls) == 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requirements of the real pyproject.toml, bundles and PyTorch's run; a failure ends it."""
    run = FakeRun()
    monkeypatch.setattr(prepare, "Processes", lambda *_words: run)
    prepare.main([str(tmp_path / "wheels"), "--extras", "cpu,rtx"])
    lines = (tmp_path / "wheels" / "requirements.txt").read_text("utf-8").splitlines()
    assert any(line.startswith("tensorrt-rtx") for line in lines)
    assert any(line.startswith("pytest") for line in lines)
    assert "miniature-fp16, miniature-int8, miniature-int4-weight, " in capsys.readouterr().out
    run.outcomes["export"] = failed(9, "no torch")
    with pytest.raises(SystemExit, match="no torch"):
        prepare.main([str(tmp_path / "other")])


def test_an_environment(tmp_path: Path) -> None:
    """It sees packages on the given folders besides its own, and its own first."""
    host = tmp_path / "host" / "site-packages"
    host.mkdir(parents=True)
    (host / "of_the_host.py").write_text("value = 1\n", "utf-8")
    (host / "of_both.py").write_text("value = 'host'\n", "utf-8")
    python = environment.make(tmp_path / "made", [str(tmp_path), str(host)])
    (own,) = (tmp_path / "made").glob("lib/python*/site-packages")
    (own / "of_both.py").write_text("value = 'own'\n", "utf-8")
    code = "import of_the_host, of_both; print(of_the_host.value, of_both.value)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "own"]


def test_installing_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip is given the folder and no index, and its exit code is handed on."""
    commands: list[list[str]] = []

    def run(command: Sequence[str], check: bool) -> Outcome:
        assert not check
        commands.append([*command])
        return subprocess.CompletedProcess(command, 1)  # type: ignore[return-value]

    monkeypatch.setattr(environment.subprocess, "run", run)
    assert environment.main([str(tmp_path / "made"), "wheels"]) == 1
    assert " ".join(commands[0]).endswith(
        "install --quiet --no-index --find-links wheels --requirement wheels/requirements.txt"
    )
