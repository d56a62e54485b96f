"""A peer's process as `run.py` holds it: started, asked, stopped, and its memory and time read."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers import Peer

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[2]
#: Longest that an answer may take: compiling, or a picture in float32.
_PATIENCE = 3600
_TICKS = os.sysconf("SC_CLK_TCK")


class WorkerError(Exception):
    """A peer's process that ended, or does not answer; tells the end of what it printed."""


class WorkerProcess:
    """Use as a context manager. ``ready`` is its first answer (`protocol.py`)."""

    def __init__(
        self, peer: Peer, item: str, *, checkpoint: Path, models: Path, environments: Path, threads: int,
        steps: int, log: Path,
    ) -> None:  # fmt: skip
        self.peer, self._log = peer, log
        python = sys.executable
        if peer.environment:
            python = str((environments / peer.environment / "bin/python").absolute())
        command = [
            python, str(_HERE / peer.worker), "--item", item, "--checkpoint", str(checkpoint),
            "--model", str(models / peer.model if peer.model else checkpoint),
            "--option", peer.option, "--threads", str(threads), "--steps", str(steps),
        ]  # fmt: skip
        threads_of = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        with open(log, "wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, **threads_of, "PYTHONPATH": str(_ROOT), "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        try:
            self.ready = self._read()
            #: Processor time that belongs to loading and to what it was asked.
            self.own_seconds = self.processor_seconds()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, **what: Any) -> dict[str, Any]:
        """Its answer; raises WorkerError."""
        assert self._process.stdin is not None
        before = self.processor_seconds()
        with contextlib.suppress(BrokenPipeError):  # then reading says why
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        answer = self._read()
        self.own_seconds += self.processor_seconds() - before
        return answer

    def processor_seconds(self) -> float:
        """What all its threads have computed until now."""
        fields = (
            Path(f"/proc/{self._process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        )
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], _PATIENCE)[0]:
            self._process.kill()
            raise WorkerError(f"no answer in {_PATIENCE} s")
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            tail = self._log.read_text("utf-8", "replace").strip().splitlines()[-3:]
            raise WorkerError(f"ended with status {status}: {' | '.join(tail)}")
        answer: dict[str, Any] = json.loads(line)
        return answer
