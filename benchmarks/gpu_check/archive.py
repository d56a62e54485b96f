"""One file to send: the report, and what every command said, without private paths."""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.gpu_check.processes import ROOT, Outcome, Run
from benchmarks.gpu_check.report import Report
from janus_edge.atomic_file import written_aside
from janus_edge.cli.redaction import Redactor

#: Lines of each command that are kept, from its end.
_LINES = 40


class Log:
    """What commands said, one after the other."""

    def __init__(self) -> None:
        self._entries = list[tuple[str, str]]()

    def of(self, run: Run) -> Logged:
        """``run``, whose commands are noted here."""
        return Logged(self, run)

    def add(self, module: str, arguments: Sequence[str | Path], outcome: Outcome) -> None:
        """Note a command, and the end of what it said."""
        said = [f"exit code {outcome.code}, {outcome.seconds:.1f} s"]
        for text in (outcome.output, outcome.errors):
            said += text.strip().splitlines()[-_LINES:]
        self._entries.append((shlex.join([module, *map(str, arguments)]), "\n".join(said)))

    def without_private(self, redactor: Redactor) -> str:
        """All of it, but private words."""
        entries = (f"$ {redactor.command(c)}\n{redactor.text(said)}" for c, said in self._entries)
        return "\n\n".join(entries) + "\n"


@dataclass(frozen=True, slots=True)
class Logged:
    """Runs commands as ``run`` does, and notes them in ``log``."""

    log: Log
    run: Run

    def __call__(self, module: str, arguments: Sequence[str | Path]) -> Outcome:
        """As :class:`Run`."""
        outcome = self.run(module, arguments)
        self.log.add(module, arguments, outcome)
        return outcome


def redactor(folders: Mapping[str, Path]) -> Redactor:
    """Calls ``folders`` and the checkout by their names, and takes out what is private here."""
    return Redactor.of_this_machine().naming({**folders, "ROOT": ROOT})


def without_private(report: Report, redactor: Redactor) -> Report:
    """``report`` as it is written: it may be committed, and is sent."""
    checks = tuple(
        replace(
            check,
            subject=redactor.text(check.subject),
            reason=redactor.text(check.reason),
            figures=redactor.value(check.figures),
        )
        for check in report.checks
    )
    return replace(report, checks=checks, command=redactor.command(report.command))


def write(path: Path, texts: Mapping[str, str]) -> Path:
    """Write ``texts`` by their names to the archive ``path``, whole or not at all."""
    with written_aside(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in texts.items():
            file.writestr(name, text)
    return path
