"""Commands in processes of their own: what they said, how they ended, how long they took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]

#: Exit code of a command that was stopped because it took too long; as `timeout` of coreutils.
TIMED_OUT = 124

#: must equal DependencyError.exit_code: something that is optional is not installed
LACKS_PACKAGE = 9


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended; a negative ``code`` is the number of a signal."""

    code: int
    output: str
    errors: str
    seconds: float

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object that it printed; empty where it printed none."""
        try:
            found = json.loads(self.output)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def reason(self) -> str:
        """Why it failed, in its own last words; '' for success."""
        if self.code == 0:
            return ""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        last = lines[-1].removeprefix("janus-edge: error: ") if lines else "it did not say why"
        if self.code == TIMED_OUT:
            return f"did not end within {self.seconds:.0f} s"
        if self.code < 0:
            return f"was ended by {_signal_name(-self.code)} ({last})"
        return last


class Run(Protocol):
    """Runs `python -m MODULE ARGUMENTS`; a fake stands for it in tests."""

    def __call__(self, module: str, arguments: Sequence[str | Path]) -> Outcome:
        """Returns whatever happens, but for an interrupt."""
        ...


class Processes:
    """Runs with this Python, from the repository's root, with ``environment`` besides its own."""

    def __init__(self, timeout: float, environment: Mapping[str, str]) -> None:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._timeout = timeout
        self._environment = {**os.environ, "PYTHONPATH": path, **environment}

    def __call__(self, module: str, arguments: Sequence[str | Path]) -> Outcome:
        """As :class:`Run`."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        begin = time.perf_counter()
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=self._environment, capture_output=True, check=False,
                timeout=self._timeout, text=True, encoding="utf-8", errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Outcome(TIMED_OUT, "", "", time.perf_counter() - begin)
        seconds = time.perf_counter() - begin
        return Outcome(done.returncode, done.stdout, done.stderr, seconds)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
