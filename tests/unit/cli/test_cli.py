"""The command line as a whole: help, mistakes, exit codes, interruption."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from janus_edge import __version__
from janus_edge.cli import cli
from janus_edge.errors import DependencyError, ExportError, JanusEdgeError, ParityError

PROGRAM = [sys.executable, "-m", "janus_edge"]


@pytest.mark.parametrize("name", cli.commands)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_has_an_example(janus_edge: Callable[..., Any], name: str, flag: str) -> None:
    """Every command explains itself, with an example that starts as one would type it."""
    done = janus_edge(name, flag)
    assert done.code == 0
    assert re.search(rf"Example:\s+janus-edge {name}\b", done.out)
    assert done.err == ""


def test_help_lists_the_commands(janus_edge: Callable[..., Any]) -> None:
    """The help names every command with one line, in the order of a first day's work."""
    done = janus_edge("--help")
    lines = re.findall(r"^  ([a-z]+)  +(\S.*)$", done.out.partition("Commands:")[2], re.M)
    assert [name for name, _ in lines] == list(cli.commands)
    assert all(text.endswith(".") and "..." not in text for _, text in lines)


def test_version(janus_edge: Callable[..., Any]) -> None:
    assert janus_edge("--version").out.strip() == f"janus-edge, version {__version__}"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("genrate", "Did you mean 'generate'?"),
        ("reconstuct", "Did you mean 'reconstruct'?"),
        ("Verify", "Did you mean 'verify'?"),
        ("zzz", "See 'janus-edge --help'."),
    ],
)
def test_mistyped_command(janus_edge: Callable[..., Any], typed: str, hint: str) -> None:
    """A command that does not exist is an error of usage; the one that was meant is named."""
    done = janus_edge(typed, "x")
    assert done.code == 2
    assert f"No such command '{typed}'. {hint}" in done.err
    assert done.out == ""


@pytest.mark.parametrize("args", [["info"], ["generate", "b"], ["generate", "b", "p", "--seed", "x"], ["chat", "b", "--nope"]])  # fmt: skip
def test_wrong_usage(janus_edge: Callable[..., Any], args: list[str]) -> None:
    """Missing arguments, unknown options and values of another type: exit code 2, no traceback."""
    done = janus_edge(*args)
    assert done.code == 2
    assert "Usage:" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", [["info"], ["verify"], ["generate", "a fox"], ["chat", "hi"], ["reconstruct", "{photo}"]])  # fmt: skip
def test_missing_bundle(janus_edge: Callable[..., Any], photo: Path, command: list[str]) -> None:
    """Every command that takes a bundle says when there is none: exit code 4."""
    name, *rest = [part.format(photo=photo) for part in command]
    done = janus_edge(name, "nope", *rest)
    assert (done.code, done.out) == (4, "")
    assert done.error.startswith("nope: no such bundle")


def test_bad_checkpoint(janus_edge: Callable[..., Any], tmp_path: Path) -> None:
    """A folder that is no checkpoint: exit code 3, and no bundle."""
    done = janus_edge("export", tmp_path, "new")
    assert done.code == 3
    assert str(tmp_path) in done.error
    assert not Path("new").exists()


def test_export_to_an_existing_bundle(
    janus_edge: Callable[..., Any], tiny_checkpoint: Path, tiny_bundle: Path
) -> None:
    """An existing bundle is not overwritten: exit code 2, at once."""
    done = janus_edge("export", tiny_checkpoint, tiny_bundle)
    assert done.code == 2
    assert "exists already; choose another name or pass --force" in done.error
    (Path("mine")).mkdir()
    done = janus_edge("export", tiny_checkpoint, "mine", "--force")
    assert done.code == 2
    assert "is not a bundle, so --force leaves it alone" in done.error


def test_prompt_that_is_too_long(janus_edge: Callable[..., Any], tiny_bundle: Path) -> None:
    """A prompt beyond the model's positions: exit code 7, before anything is painted."""
    done = janus_edge("generate", tiny_bundle, "word " * 1500)
    assert done.code == 7
    assert "the model has 1024; shorten the prompt" in done.error
    done = janus_edge("chat", tiny_bundle, "word " * 1500)
    assert done.code == 7
    assert list(Path.cwd().iterdir()) == []


def test_unusable_graph(janus_edge: Callable[..., Any], copied_bundle: Path) -> None:
    """Precisions that the CPU has no kernels for: exit code 8, with the way out."""
    path = copied_bundle / "manifest.json"
    assert janus_edge("generate", copied_bundle, "a fox").code == 0
    path.write_text(
        path.read_text("utf-8").replace('"float_type": "float32"', '"float_type": "bfloat16"')
    )
    done = janus_edge("generate", copied_bundle, "a fox")
    assert done.code == 8
    assert "export with --precision fp32" in done.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JanusEdgeError("x"), 1),
        (ExportError("x"), 5),
        (ParityError("x"), 6),
        (DependencyError.missing("torch", "export"), 9),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1),
    ],
)
def test_exit_codes(
    janus_edge: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    """Each class of error has its exit code; a full disk and Ctrl-C are no tracebacks either."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli.commands["doctor"], "callback", fail)
    done = janus_edge("doctor")
    assert done.code == code
    assert "Traceback" not in done.err
    lines = done.err.split("\n")
    assert len([line for line in lines if line]) == (0 if isinstance(error, BrokenPipeError) else 1)


def test_a_mistake_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody planned for keeps its traceback, for the report."""

    def fail(**_: object) -> None:
        raise ZeroDivisionError

    from janus_edge.cli import main

    monkeypatch.setattr(cli.commands["doctor"], "callback", fail)
    monkeypatch.setattr(sys, "argv", ["janus-edge", "doctor"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_names_from_a_hostile_file(janus_edge: Callable[..., Any], copied_bundle: Path) -> None:
    """Line breaks, escapes and lone surrogates in a manifest do not reach the terminal."""
    path = copied_bundle / "manifest.json"
    text = path.read_text("utf-8")
    path.write_text(
        text.replace('"schema_version"', r'"a\nb\u001b[2J\ud800": 1, "schema_version"', 1)
    )
    done = janus_edge("info", copied_bundle)
    assert done.code == 4
    assert r"unknown key 'a b\x1b[2J\ud800'" in done.error


def test_process() -> None:
    """The same through a process: exit code 4, one line on standard error, nothing else."""
    done = subprocess.run([*PROGRAM, "info", "nope"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert done.stdout == ""
    assert re.fullmatch(r"janus-edge: error: nope: no such bundle .*\n", done.stderr)


def test_ctrl_c(tiny_bundle: Path, tmp_path: Path) -> None:
    """Ctrl-C while painting: exit code 130, one line, and no half-written picture."""
    command = [*PROGRAM, "generate", str(tiny_bundle), "a fox", "-n", "2000", "-o", "out", "-v"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs, and what they start, ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("total"):  # the last line of the plan of the memory
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert rest.rstrip().endswith("janus-edge: interrupted")
    assert "Traceback" not in rest
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_closed_pipe(tiny_bundle: Path) -> None:
    """A reader that goes away (``| head``) is no error of the program."""
    command = [*PROGRAM, "info", str(tiny_bundle), "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait(60) in (0, 1)
