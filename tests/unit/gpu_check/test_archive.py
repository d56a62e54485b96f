"""The archive to send holds all output of the commands and nothing private."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from benchmarks.gpu_check import archive
from benchmarks.gpu_check.processes import Outcome


def test_a_log(tmp_path: Path) -> None:
    """The log holds each command with its exit code and last lines, in order."""
    log = archive.Log()
    run = log.of(lambda _module, _words: Outcome(3, "said", "first\nlast", 1.0))
    assert run("janus_edge", ["build", tmp_path]).code == 3
    run("other", [])
    first, second = log.text.split("\n\n")
    assert first == f"$ janus_edge build {tmp_path}\nexit code 3, 1.0 s\nsaid\nfirst\nlast"
    assert second.startswith("$ other")
    path = archive.write(tmp_path / "sent.zip", {"commands.txt": log.text})
    with zipfile.ZipFile(path) as file:
        assert file.read("commands.txt").decode() == log.text


def test_nothing_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders, the home folder and the host's name are replaced, the longest first."""
    monkeypatch.setattr(archive.Path, "home", lambda: Path("/home/someone"))
    monkeypatch.setattr(archive.platform, "node", lambda: "machine-7")
    text = "/home/someone/work/wheels/a on machine-7 /home/someone/b"
    found = archive.without_private(text, {"PREPARED": Path("/home/someone/work/wheels")})
    assert found == "PREPARED/a on HOST HOME/b"
