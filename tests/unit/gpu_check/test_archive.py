"""What is sent: all that commands said, and nothing private."""

from __future__ import annotations

import zipfile
from pathlib import Path

from benchmarks.gpu_check import archive
from benchmarks.gpu_check.processes import Outcome
from benchmarks.gpu_check.report import FAILED, Check, Report
from janus_edge.bench.machine import describe
from janus_edge.cli.redaction import Redactor


def test_a_log(tmp_path: Path) -> None:
    """Each command with its exit code and its last words, in order."""
    log = archive.Log()
    run = log.of(lambda _module, _words: Outcome(3, "said", "first\nlast", 1.0))
    assert run("janus_edge", ["build", tmp_path]).code == 3
    run("other", [])
    text = log.without_private(Redactor({}, {str(tmp_path): "T"}))
    first, second = text.split("\n\n")
    assert first == "$ janus_edge build T\nexit code 3, 1.0 s\nsaid\nfirst\nlast"
    assert second.startswith("$ other")
    path = archive.write(tmp_path / "sent.zip", {"commands.txt": text})
    with zipfile.ZipFile(path) as file:
        assert file.read("commands.txt").decode() == text


def test_nothing_private() -> None:
    """Folders have names, with spaces or not; a name is not the beginning of another."""
    folder = Path("/tmp/x/Acme Corp/Project Zeus")
    redactor = archive.redactor({"PREPARED": folder})
    assert redactor.text(f"{folder}/a, {folder}-2/b") == "PREPARED/a, .../b"
    assert (
        redactor.command(f"x --prepared '{folder}' {archive.ROOT}/a")
        == "x --prepared PREPARED ROOT/a"
    )


def test_a_report() -> None:
    """Command, reasons and figures are without folders and prompts in the JSON and the markdown."""
    folder = "/tmp/x/Acme Corp/Project Zeus"
    check = Check("t", "s", "n", FAILED, f"{folder}/m: damaged", {"where": f"{folder}/m", "n": 1})
    report = Report(
        "d", describe(), {}, None, (check,), f"x --prepared '{folder}' --prompt 'my secret'"
    )
    clean = archive.without_private(report, archive.redactor({"PREPARED": Path(folder)}))
    for text in (clean.json, clean.text):
        assert not [word for word in ("Acme", "Zeus", "secret") if word in text]
        assert "PREPARED/m: damaged" in text
