"""The tests that are marked `gpu`, run by pytest, one check for each file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu_check.processes import ROOT, Outcome, Run
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check

#: Tells the tests where a prepared bundle of the dimensions `tiny` is; they export one without it.
TINY_BUNDLE = "JANUS_EDGE_TINY_BUNDLE"

_MARK = "pytest.mark.gpu"


def marked_files(root: Path = ROOT) -> list[Path]:
    """The test files that have the mark, relative to ``root``."""
    files = sorted((root / "tests").rglob("test_*.py"))
    return [path.relative_to(root) for path in files if _MARK in path.read_text("utf-8")]


def run_tests(run: Run, files: list[Path], scratch: Path, why_not: str | None) -> Iterator[Check]:
    """A check for each of ``files``; all are skipped where ``why_not`` says why."""
    if why_not is None and importlib.util.find_spec("pytest") is None:
        why_not = "pytest is not installed"
    for number, file in enumerate(files):
        name = f"pytest {file.as_posix()}"
        if why_not is not None:
            yield Check("", "", name, SKIPPED, why_not)
            continue
        results = scratch / f"pytest-{number}.xml"
        arguments: list[str | Path] = [
            "-m",
            "gpu",
            file,
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={results}",
        ]
        yield _check(name, run("pytest", arguments), results)


def _check(name: str, outcome: Outcome, results: Path) -> Check:
    try:
        cases = [*ElementTree.parse(results).iter("testcase")]
    except (OSError, ElementTree.ParseError):
        last = outcome.output.strip().splitlines()[-1:] or [outcome.reason]
        return Check("", "", name, FAILED, f"pytest wrote no results: {last[0] or 'no word'}")
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    left = [skip for c in cases if (skip := c.find("skipped")) is not None]
    untold = sorted({skip.get("message", "") for skip in left})
    found = {
        "passed": len(cases) - len(failed) - len(left),
        "failed": [f"{case.get('name')}: {_message(case)}" for case in failed],
        "skipped": untold,
    }
    state, why = PASSED, ""
    if failed or outcome.code not in (0, 5):  # 5: nothing was selected
        state = FAILED
        why = f"{len(failed)} of {len(cases)} failed" if failed else f"pytest: {outcome.reason}"
    elif not found["passed"]:
        state, why = SKIPPED, "; ".join(untold) or "it has no such test"
    return Check("", "", name, state, why, found, outcome.seconds)


def _message(case: ElementTree.Element) -> str:
    for kind in ("failure", "error"):
        found = case.find(kind)
        if found is not None:
            return (
                (found.get("message") or "").splitlines()[0][:300] if found.get("message") else ""
            )
    return ""
