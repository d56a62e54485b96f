"""Commands in processes: their words and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.gpu_check.budget import Budget
from benchmarks.gpu_check.gpu_tests import marked_files, run_tests
from benchmarks.gpu_check.processes import (
    LACKS_PACKAGE,
    NO_TIME,
    TIMED_OUT,
    Outcome,
    Processes,
)
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED
from janus_edge.errors import DependencyError


def test_a_command_of_janus_edge() -> None:
    """Its own words become the reason; the exit code tells what is merely not installed."""
    outcome = Processes(100, {"JANUS_EDGE_CACHE": "/nowhere"})("janus_edge", ["info", "/nowhere"])
    assert outcome.code == 4
    assert outcome.reason.startswith("/nowhere: ")
    assert outcome.data == {}
    assert DependencyError.exit_code == LACKS_PACKAGE


def test_ends() -> None:
    assert Outcome(0, '{"a": 1}', "words", 1.0).data == {"a": 1}
    assert Outcome(0, "[]", "words", 1.0).data == {}
    assert Outcome(0, "", "words", 1.0).reason == ""
    assert "ended by signal 99" in Outcome(-99, "", "", 1.0).reason


def test_a_command_that_takes_too_long() -> None:
    assert Processes(0.05, {})("timeit", ["-s", "import time", "time.sleep(60)"]).code == TIMED_OUT


def test_the_total_limit() -> None:
    """When the limit ends, the running command is stopped and no other one is started."""
    now = iter([0.0, 0.0, 9.9, 100.0, 100.0])
    run = Processes(60, {}, budget=Budget(10, lambda: next(now)))
    for _ in range(2):
        outcome = run("timeit", ["-s", "import time", "time.sleep(60)"])
        assert outcome.code == NO_TIME
        assert "the total limit of 10 s is used up" in outcome.reason
    assert outcome.seconds == 0.0


def test_what_a_command_started_is_stopped_with_it() -> None:
    """A child that holds the pipes open does not keep us waiting."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    outcome = Processes(1.0, {})("timeit", ["-n", "1", "-r", "1", code])
    assert outcome.code == TIMED_OUT
    assert outcome.seconds < 30


def test_through_another_module() -> None:
    """A rehearsal runs each command's module in its place."""
    outcome = Processes(60, {}, through="timeit")("print('ran')", [])
    assert outcome.output.startswith("ran")


TESTS = """
import os, pytest
pytestmark = getattr(pytest.mark, "gpu")
def test_good(): assert os.environ["TOLD"] == "so"
def test_left(): pytest.skip("no such thing")
def test_bad(): raise ValueError("oh")
"""


def test_pytest(tmp_path: Path) -> None:
    """What passed, failed and was skipped in pytest's own words, each with its reason."""
    file = tmp_path / "test_made.py"
    file.write_text(TESTS, "utf-8")
    (bad,) = run_tests(Processes(400, {"TOLD": "so"}), [file], tmp_path, None)
    assert (bad.state, bad.reason) == (FAILED, "1 of 3 failed")
    assert bad.figures == {
        "passed": 1, "failed": ["test_bad: ValueError: oh"], "skipped": ["no such thing"],
    }  # fmt: skip


CASE = {
    "good": '<testcase name="a"/>',
    "left": '<testcase name="b"><skipped message="no such thing"/></testcase>',
}


@pytest.mark.parametrize(
    ("code", "cases", "state", "reason"),
    [
        (0, ["good", "left"], PASSED, ""),
        (0, ["left", "left"], SKIPPED, "no such thing"),
        (5, [], SKIPPED, "it has no such test"),
        (2, ["good"], FAILED, "pytest: last words"),
        (-11, None, FAILED, "pytest wrote no results"),
    ],
)
def test_results_of_pytest(
    tmp_path: Path, code: int, cases: list[str] | None, state: str, reason: str
) -> None:
    """Only a file of which a test passed has passed; one without results has failed."""

    def run(module: str, arguments: Sequence[str | Path]) -> Outcome:
        assert module == "pytest"
        results = Path(str(arguments[-1]).partition("=")[2])
        if cases is not None:
            body = "".join(CASE[case] for case in cases)
            results.write_text(f"<testsuites>{body}</testsuites>", "utf-8")
        return Outcome(code, "", "last words", 1.0)

    (check,) = run_tests(run, [Path("test_made.py")], tmp_path, None)
    assert check.state == state
    assert reason in check.reason


def test_tests_without_a_gpu(tmp_path: Path) -> None:
    """All files with the mark are told; none is run."""
    files = marked_files()
    assert Path("tests/unit/runtime/tensorrt/test_real_gpu.py") in files
    found = [*run_tests(Processes(1, {}), files, tmp_path, "no GPU")]
    assert [(c.state, c.reason) for c in found] == [(SKIPPED, "no GPU")] * len(files)
