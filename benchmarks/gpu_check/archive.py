"""The file to send: the report and the output of every command, without private paths."""

from __future__ import annotations

import platform
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_check.processes import ROOT, Outcome, Run
from janus_edge.atomic_file import written_aside

#: Number of lines that are kept from the end of each command's output.
_LINES = 40


class Log:
    """The output of commands, one after the other."""

    def __init__(self) -> None:
        self._entries = list[str]()

    def of(self, run: Run) -> Logged:
        """Return a runner like ``run`` that records its commands here."""
        return Logged(self, run)

    def add(self, module: str, arguments: Sequence[str | Path], outcome: Outcome) -> None:
        """Record a command and the end of its output."""
        said = [f"$ {module} {' '.join(map(str, arguments))}"]
        said.append(f"exit code {outcome.code}, {outcome.seconds:.1f} s")
        for text in (outcome.output, outcome.errors):
            said += text.strip().splitlines()[-_LINES:]
        self._entries.append("\n".join(said))

    @property
    def text(self) -> str:
        """Return the whole log."""
        return "\n\n".join(self._entries) + "\n"


@dataclass(frozen=True, slots=True)
class Logged:
    """Run commands as ``run`` does, and record them in ``log``."""

    log: Log
    run: Run

    def __call__(self, module: str, arguments: Sequence[str | Path]) -> Outcome:
        """As :class:`Run`."""
        outcome = self.run(module, arguments)
        self.log.add(module, arguments, outcome)
        return outcome


def without_private(text: str, folders: Mapping[str, Path]) -> str:
    """Return ``text`` with placeholders for ``folders``, the home folder and the host's name."""
    named = {**folders, "ROOT": ROOT, "HOME": Path.home()}
    found = {str(p): name for name, path in named.items() for p in (path, path.absolute())}
    found[platform.node()] = "HOST"
    for private in sorted(found, key=len, reverse=True):
        if len(private) > 1:  # not '/', which is the home of some users
            text = text.replace(private, found[private])
    return text


def write(path: Path, texts: Mapping[str, str]) -> Path:
    """Write ``texts`` under their names to the archive ``path``, completely or not at all."""
    with written_aside(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in texts.items():
            file.writestr(name, text)
    return path
