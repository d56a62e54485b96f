"""An engine's row, and the summary on the terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu_check.checks import TargetChecks
from benchmarks.gpu_check.engine_commands import EngineCommands
from benchmarks.gpu_check.models import Models
from benchmarks.gpu_check.report import Check, Report
from benchmarks.gpu_check.summary import MOST_LINES, summary
from benchmarks.gpu_check.table import capacity_lines, rows
from tests.unit.bench.reports import MACHINE
from tests.unit.gpu_check.fakes import DEVICE, FakeRun, failed


def checks(tmp_path: Path, run: FakeRun) -> list[Check]:
    made = TargetChecks(EngineCommands("tensorrt", DEVICE, run, tmp_path), Models(tmp_path, run))
    return [*made.of("fp16"), made.capacity("fp16")]


def test_a_row(tmp_path: Path) -> None:
    """The row holds the verdict, the first difference, the margin, the step and the limit."""
    found = checks(tmp_path, FakeRun())
    (row,) = rows(found)
    assert (row["verdict"], row["equal"], row["differs at"]) == ("rounding", "0 of 1", "120")
    assert (row["margin"], row["top two"]) == ("0.002", "0.001")
    assert (row["step ms"], row["uncaptured"], row["of limit"]) == ("2.000", "4.000", "0%")
    assert (row["attention"], row["GPU MiB"], row["MB a step"]) == ("fused", "5", "7.0")
    (line,) = capacity_lines(found)
    assert "does not cost by capacity: 1024 against 256" in line


def test_what_failed(tmp_path: Path) -> None:
    """A crashed check shows as failed in its column, and the other columns stay."""
    run = FakeRun({"painting": failed(-11, "x"), "attention": failed(1, "y")})
    (row,) = rows(checks(tmp_path, run))
    assert (row["verdict"], row["attention"], row["step ms"]) == ("failed", "failed", "2.000")
    (row,) = rows(checks(tmp_path, FakeRun({"build": failed(10, "no")})))
    assert (row["build s"], row["verdict"]) == ("failed", "")


def test_the_summary(tmp_path: Path) -> None:
    """It has at most thirty lines, with the warning first and a reason for each absent target."""
    found = checks(tmp_path, FakeRun())
    found += [
        Check("ort-cuda", "miniature-int8", f"check {n}", "failed", "x" * 300) for n in range(40)
    ]
    report = Report("2026", MACHINE, {}, DEVICE, tuple(found), "command", 3.0, "REHEARSAL: no GPU")
    lines = summary(report)
    assert len(lines) == MOST_LINES
    assert lines[0] == "REHEARSAL: no GPU"
    assert max(map(len, lines)) <= 160
    assert "more lines in the report" in lines[-1]
    short = summary(replace(report, checks=(Check.absent("tensorrt", "it is not installed"),)))
    assert short[-1] == "absent   tensorrt: it is not installed"


def test_the_report(tmp_path: Path) -> None:
    """Both files hold the command, the time and the warning; a rehearsal's file names say what they are."""
    found = tuple(checks(tmp_path, FakeRun()))
    report = Report("2026", MACHINE, {}, DEVICE, found, "python -m x", 3.0, "REHEARSAL: none")
    assert report.stem.startswith("rehearsal-")
    assert report.text.splitlines()[2] == "**REHEARSAL: none**"
    assert "* command: python -m x" in report.text
    assert "| tensorrt | fp16 | 2.5 | rounding |" in report.text
    assert json.loads(report.json)["warning"] == "REHEARSAL: none"
