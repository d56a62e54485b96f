"""The command line: which checks are made, in which order, and where the report goes."""

from __future__ import annotations

import contextlib
import importlib
import shlex
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.gpu_check import archive
from benchmarks.gpu_check.availability import find_device, why_not
from benchmarks.gpu_check.budget import Budget
from benchmarks.gpu_check.checks import TargetChecks
from benchmarks.gpu_check.engine_commands import EngineCommands
from benchmarks.gpu_check.full_checks import full
from benchmarks.gpu_check.gpu_tests import TINY_BUNDLE, marked_files, run_tests
from benchmarks.gpu_check.models import Models, UnavailableError
from benchmarks.gpu_check.options import DEFAULT_TARGETS, parse
from benchmarks.gpu_check.processes import ROOT, Processes
from benchmarks.gpu_check.random_checks import RandomChecks
from benchmarks.gpu_check.random_models import RandomModels
from benchmarks.gpu_check.report import FAILED, Check, Device, Report
from benchmarks.gpu_check.summary import summary
from janus_edge.bench.machine import describe, versions
from janus_edge.termination import Terminated, terminations_raised

RESULTS = ROOT / "benchmarks" / "results"

#: Exit codes beside 0, argparse's 2, and 128 + the signal that interrupted.
SOMETHING_FAILED, NOTHING_RAN = 1, 3

#: Exceptions that end the checks early; the report then holds the finished ones.
_INTERRUPTS = (KeyboardInterrupt, Terminated)

#: Runs commands on fakes; exists only in a checkout with the tests.
_REHEARSAL = "tests.unit.gpu_check.rehearsal"

#: Seconds allowed for the preparation before the checks begin.
_PREPARING = 900.0


@dataclass(frozen=True, slots=True)
class Machinery:
    """How commands run: their ``environment``, the module that runs them, and the log of their output."""

    environment: dict[str, str]
    through: str
    log: archive.Log

    @property
    def prepares(self) -> archive.Logged:
        """Return a runner for commands that need no GPU, before the checks begin; it uses no fakes."""
        return self.log.of(Processes(_PREPARING, self.environment))

    def run(
        self, timeout: float, budget: Budget | None = None, **environment: str
    ) -> archive.Logged:
        """Return a runner that stops each command after ``timeout`` seconds."""
        named = {**self.environment, **environment}
        made = Processes(timeout, named, budget=budget, through=self.through)
        return self.log.of(made)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the checks, print each as it ends, write the report if anything ran; the exit code."""
    given = [*(sys.argv[1:] if arguments is None else arguments)]
    options = parse(given)
    try:
        with terminations_raised():
            return _make(options, given)
    except _INTERRUPTS as interrupt:
        return _interrupted(interrupt)


def _make(options: Namespace, given: Sequence[str]) -> int:
    begin, checks, log = time.monotonic(), list[Check](), archive.Log()
    interrupt: BaseException | None = None
    warning = (
        importlib.import_module(_REHEARSAL).install(options.rehearse) if options.rehearse else ""
    )
    if warning:
        print(warning, flush=True)
    device = find_device()
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        scratch = Path(folder)
        # caches of this run only, so that files of earlier runs speed nothing up
        environment = {"JANUS_EDGE_CACHE": str(scratch / "cache"), "ORT_DISABLE_TELEMETRY": "1"}
        if warning:
            environment["JANUS_EDGE_REHEARSAL"] = options.rehearse
        machinery = Machinery(environment, _REHEARSAL if warning else "", log)
        try:
            for check in all_checks(options, device, scratch, machinery):
                checks.append(check)
                print(check, flush=True)
        except _INTERRUPTS as signalled:
            interrupt = signalled
        private = {"SCRATCH": scratch, "PREPARED": options.prepared or scratch}
        redactor = archive.redactor(private)
        said = log.without_private(redactor)
    report = Report(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        machine=describe(),
        versions=versions(),
        device=device if isinstance(device, Device) else None,
        checks=tuple(checks),
        command=shlex.join(["python", "-m", "benchmarks.gpu_check", *given]),
        seconds=time.monotonic() - begin,
        warning=warning,
        size=options.size,
        interrupted=interrupt is not None,
    )
    code = _end(options, report, archive.without_private(report, redactor), said)
    return code if interrupt is None else _interrupted(interrupt)


def _interrupted(interrupt: BaseException) -> int:
    """Print one line about the interrupt and return the exit code."""
    how = str(interrupt) or "interrupted"
    print(f"gpu-check: {how}", file=sys.stderr)
    return interrupt.exit_code if isinstance(interrupt, Terminated) else 130


def _end(options: Namespace, report: Report, clean: Report, said: str) -> int:
    """Print ``report``, write the ``clean`` one, and return the exit code."""
    print("", *summary(report), sep="\n")
    if not report.ran:
        print("nothing was checked, so no report is written")
        return NOTHING_RAN if options.require_gpu else 0
    if report.device is None and options.out is None:
        print("there is no GPU, so no report is written; --out FOLDER writes it nevertheless")
    else:
        folder = options.out or RESULTS
        paths = clean.write(folder)
        texts = {path.name: path.read_text("utf-8") for path in paths} | {"commands.txt": said}
        sent = archive.write(folder / f"{report.stem}.zip", texts)
        fate = "a rehearsal: nothing to send" if options.rehearse else "send this"
        print(*paths, f"{sent} ({fate})", sep="\n")
    return SOMETHING_FAILED if report.counts[FAILED] else 0


def all_checks(
    options: Namespace, device: Device | str, scratch: Path, machinery: Machinery
) -> Iterator[Check]:
    """Yield the checks of every requested target, the most informative precision of each first."""
    models = Models(options.prepared or scratch, machinery.prepares)
    found = device if isinstance(device, Device) else None
    targets = []
    for target in options.targets or DEFAULT_TARGETS:
        why = why_not(target, device, asked=bool(options.targets))
        if why is not None:
            yield Check.absent(target, why)
        else:
            targets.append(target)
    if not targets:
        return
    if options.size != "miniature":
        yield from _random(options, found, targets, scratch, machinery)
        return
    _prepare(options, models)
    # the limit starts here: preparation with PyTorch and on the CPU does not count
    budget = Budget(options.total)
    run = machinery.run(options.timeout, budget)
    each = [
        TargetChecks(EngineCommands(target, found, run, scratch), models, options.seconds)
        for target in targets
    ]
    first, *others = options.precisions
    for checks in each:
        yield from checks.of(first)
    for checks in each:
        yield checks.capacity(first)
    for precision in others:
        for checks in each:
            yield from checks.of(precision)
    for checks in each:
        yield checks.torch(first)
    if options.full:
        for checks in each:
            for precision in options.precisions:
                yield from full(checks, precision, options.repetitions)
        yield from _tests(options, device, models, scratch, machinery, budget)


def _random(
    options: Namespace, device: Device | None, targets: list[str], scratch: Path,
    machinery: Machinery,
) -> Iterator[Check]:  # fmt: skip
    """Yield times at published dimensions: every precision of every target, then the capacities."""
    models = RandomModels(options.prepared or scratch, machinery.prepares, options.size)
    for precision in options.precisions:
        with contextlib.suppress(UnavailableError):
            models.bundle(precision)
    run = machinery.run(options.timeout, Budget(options.total))
    memory = device.memory_mib if device else None
    each = [
        RandomChecks(EngineCommands(target, device, run, scratch), models, memory)
        for target in targets
    ]
    for precision in options.precisions:
        for checks in each:
            yield from checks.of(precision)
    for checks in each:
        yield checks.capacity(options.precisions[0])


def _prepare(options: Namespace, models: Models) -> None:
    """Make missing references; a check that lacks one reports why it could not be made."""
    for precision in options.precisions:
        with contextlib.suppress(UnavailableError):
            models.reference(precision)


def _tests(
    options: Namespace, device: Device | str, models: Models, scratch: Path,
    machinery: Machinery, budget: Budget,
) -> Iterator[Check]:  # fmt: skip
    why = device if isinstance(device, str) else None
    tiny = ""
    if why is None:
        try:
            tiny = str(models.tiny().absolute())
        except UnavailableError as lacking:
            why = f"there is no bundle: {lacking}"
    run = machinery.run(options.timeout, budget, **{TINY_BUNDLE: tiny})
    yield from run_tests(run, marked_files(), scratch, why)
