"""One file to send: the report, and what every command said, without private paths."""

from __future__ import annotations

import platform
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_check.processes import ROOT, Outcome, Run
from janus_edge.atomic_file import written_aside

#: Lines of each command that are kept, from its end.
_LINES = 40


class Log:
    """What commands said, one after the other."""

    def __init__(self) -> None:
        self._entries = list[str]()

    def of(self, run: Run) -> Logged:
        """``run``, whose commands are noted here."""
        return Logged(self, run)

    def add(self, module: str, arguments: Sequence[str | Path], outcome: Outcome) -> None:
        """Note a command, and the end of what it said."""
        said = [f"$ {module} {' '.join(map(str, arguments))}"]
        said.append(f"exit code {outcome.code}, {outcome.seconds:.1f} s")
        for text in (outcome.output, outcome.errors):
            said += text.strip().splitlines()[-_LINES:]
        self._entries.append("\n".join(said))

    @property
    def text(self) -> str:
        """All of it."""
        return "\n\n".join(self._entries) + "\n"


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


def without_private(text: str, folders: Mapping[str, Path]) -> str:
    """``text`` with ``folders``, the home and the host's name replaced by what they are called."""
    named = {**folders, "ROOT": ROOT, "HOME": Path.home()}
    found = {str(p): name for name, path in named.items() for p in (path, path.absolute())}
    found[platform.node()] = "HOST"
    for private in sorted(found, key=len, reverse=True):
        if len(private) > 1:  # not '/', the home of some users
            text = text.replace(private, found[private])
    return text


def write(path: Path, texts: Mapping[str, str]) -> Path:
    """Write ``texts`` by their names to the archive ``path``, whole or not at all."""
    with written_aside(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in texts.items():
            file.writestr(name, text)
    return path
