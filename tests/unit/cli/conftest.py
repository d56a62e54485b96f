"""The program called as a user calls it, without a process of its own."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error, which must be the last and the only one of its kind."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("janus-edge: error: ")]
        assert errors == lines[-1:], self.err
        assert "Traceback" not in self.err
        return errors[0].removeprefix("janus-edge: error: ")


Run = Callable[..., Done]


@pytest.fixture
def janus_edge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """``janus_edge("info", bundle, stdin="")`` runs the entry point in a folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "160")

    def run(*args: object, stdin: str = "") -> Done:
        from janus_edge.cli import main

        monkeypatch.setattr(sys, "argv", ["janus-edge", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        captured = capsys.readouterr()
        assert isinstance(done.value.code, int)
        return Done(done.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.radial_gradient("L").convert("RGB").resize((60, 40)).save(path)
    return path
