"""Commands in processes of their own: what they said, how they ended, how long they took."""

from __future__ import annotations

import contextlib
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

from benchmarks.gpu_check.budget import Budget

ROOT = Path(__file__).resolve().parents[2]

#: Exit code of a command that was stopped because it took too long; as `timeout` of coreutils.
TIMED_OUT = 124

#: Exit code of a command that was stopped, or not started, because the total limit was used up.
NO_TIME = 125

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
        if self.code == NO_TIME:
            return self.errors
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
    """Run commands with this Python, from the repository's root, with ``environment`` added to its own.

    A command is stopped, with all processes that it started, after ``timeout`` seconds or when the common
    ``budget`` is spent. ``through`` is a module that runs the command's module in its place.
    """

    def __init__(
        self, timeout: float, environment: Mapping[str, str], *, budget: Budget | None = None,
        through: str = "",
    ) -> None:  # fmt: skip
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._timeout, self._budget = timeout, budget
        self._python = [sys.executable, "-m", *([through] if through else [])]
        self._environment = {**os.environ, "PYTHONPATH": path, **environment}

    def __call__(self, module: str, arguments: Sequence[str | Path]) -> Outcome:
        """As :class:`Run`."""
        limit, budget = self._timeout, self._budget
        if budget is not None:
            if budget.spent:
                return Outcome(NO_TIME, "", _used_up(budget), 0.0)
            limit = min(limit, budget.left)
        begin = time.perf_counter()
        with subprocess.Popen(
            [*self._python, module, *map(str, arguments)], cwd=ROOT, env=self._environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            errors="replace", start_new_session=True,
        ) as process:  # fmt: skip
            try:
                output, errors = process.communicate(timeout=limit)
            except BaseException as interrupt:
                _end(process)
                if not isinstance(interrupt, subprocess.TimeoutExpired):
                    raise
                seconds = time.perf_counter() - begin
                if budget is not None and limit < self._timeout:
                    return Outcome(NO_TIME, "", _used_up(budget), seconds)
                return Outcome(TIMED_OUT, "", "", seconds)
        return Outcome(process.returncode, output, errors, time.perf_counter() - begin)


def _used_up(budget: Budget) -> str:
    return f"the total limit of {budget.total:.0f} s is used up; raise it with --total SECONDS"


def _end(process: subprocess.Popen[str]) -> None:
    """End a command and its children, which would otherwise hold its pipes open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
