"""The command line: which checks are made, in which order, and where the report goes."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import benchmarks.gpu_check as package
from benchmarks.gpu_check.availability import find_device, why_not
from benchmarks.gpu_check.checks import TargetChecks, skipped
from benchmarks.gpu_check.gpu_tests import TINY_BUNDLE, marked_files, run_tests
from benchmarks.gpu_check.models import PRECISIONS, Models, UnavailableError
from benchmarks.gpu_check.processes import ROOT, Processes
from benchmarks.gpu_check.report import FAILED, Check, Device, Report
from janus_edge.bench.machine import describe, versions
from janus_edge.engines.target_names import TARGET_NAMES

RESULTS = ROOT / "benchmarks" / "results"

#: Exit codes beside 0 and argparse's 2.
SOMETHING_FAILED, NOTHING_RAN = 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the checks, print each as it ends, write the report if anything ran; the exit code."""
    options = _parser().parse_args(arguments)
    device, checks = find_device(), []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        for check in all_checks(options, device, Path(scratch)):
            print(check, flush=True)
            checks.append(check)
    report = Report(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        machine=describe(),
        versions=versions(),
        device=device if isinstance(device, Device) else None,
        checks=tuple(checks),
    )
    print(", ".join(f"{count} {state}" for state, count in report.counts.items()))
    if not report.ran:
        print("nothing could be checked here, so no report is written")
        return NOTHING_RAN if options.require_gpu else 0
    if report.device is None and options.out is None:
        print("there is no GPU, so no report is written; --out FOLDER writes it nevertheless")
    else:
        print("\n".join(map(str, report.write(options.out or RESULTS))))
    return SOMETHING_FAILED if report.counts[FAILED] else 0


def all_checks(options: argparse.Namespace, device: Device | str, scratch: Path) -> Iterator[Check]:
    """Those of every target that was asked for, then the tests."""
    # caches of its own, so that what earlier runs left behind makes nothing faster
    run = Processes(options.timeout, {"JANUS_EDGE_CACHE": str(scratch / "cache")})
    models = Models(options.prepared or scratch, run)
    for target in options.targets:
        why = why_not(target, device)
        if why is not None:
            yield from skipped(target, "", why)
            continue
        found = device if isinstance(device, Device) else None
        checks = TargetChecks(target, found, models, run, scratch, options.repetitions)
        for precision in options.precisions:
            yield from checks.of(precision)
    yield from _tests(options, device, models, scratch)


def _tests(
    options: argparse.Namespace, device: Device | str, models: Models, scratch: Path
) -> Iterator[Check]:
    why = device if isinstance(device, str) else None
    environment = {}
    if why is None:
        try:
            environment[TINY_BUNDLE] = str(models.tiny().absolute())
        except UnavailableError as lacking:
            why = f"there is no bundle: {lacking}"
    yield from run_tests(Processes(options.timeout, environment), marked_files(), scratch, why)


def _names(known: Sequence[str], text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
    return names


def _parser() -> argparse.ArgumentParser:
    about = (package.__doc__ or "").replace("%", "%%")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    usual = tuple(name for name in TARGET_NAMES if name != "ort-cpu")
    parser.add_argument("--prepared", type=Path, metavar="FOLDER", help="with bundles that `make gpu-wheels` made; else they are exported")  # fmt: skip
    parser.add_argument("--targets", type=lambda t: _names(TARGET_NAMES, t), default=usual, help=f"{','.join(usual)} (and ort-cpu, to try this command without a GPU)")  # fmt: skip
    parser.add_argument("--precisions", type=lambda t: _names(PRECISIONS, t), default=PRECISIONS, help=",".join(PRECISIONS))  # fmt: skip
    parser.add_argument("--repetitions", type=int, default=5, help="requests that are timed")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for each command")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the report, instead of benchmarks/results")  # fmt: skip
    parser.add_argument("--require-gpu", action="store_true", help="exit with 3 where all is skipped")  # fmt: skip
    return parser
