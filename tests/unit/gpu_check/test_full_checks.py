"""Checks that --full adds: graphs, plans, whole requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_check import full_checks as module
from benchmarks.gpu_check.checks import TargetChecks
from benchmarks.gpu_check.engine_commands import EngineCommands
from benchmarks.gpu_check.full_checks import GRAPHS, LATENCY, MEMORY, NAMES, PLANS, full
from benchmarks.gpu_check.models import Models
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check
from tests.unit.gpu_check import fakes
from tests.unit.gpu_check.fakes import DEVICE, FakeRun, bench_json, failed


@pytest.fixture(autouse=True)
def polygraphy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that Polygraphy is installed."""
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: object())


def made(
    tmp_path: Path, run: FakeRun, target: str = "tensorrt", precision: str = "fp32"
) -> dict[str, Check]:
    checks = TargetChecks(EngineCommands(target, DEVICE, run, tmp_path), Models(tmp_path, run))
    assert [*checks.of(precision)]
    found = [*full(checks, precision, 3)]
    assert tuple(check.name for check in found) == NAMES
    return {check.name: check for check in found}


def test_all_pass(tmp_path: Path) -> None:
    """Every check has its figures."""
    found = made(tmp_path, FakeRun())
    assert {check.state for check in found.values()} == {PASSED}
    assert found[GRAPHS].figures["snr_db"] == {"vq_decoder": 95.0}
    assert found[LATENCY].figures["image"]["step_median_s"] == 1e-3
    assert found[MEMORY].figures == {"image": {"process_bytes": 1 << 30, "device_bytes": 5 << 20}}


def test_without_an_engine(tmp_path: Path) -> None:
    """An engine that was not built is not checked further."""
    found = made(tmp_path, FakeRun({"build": failed(10, "no")}))
    assert {check.state for check in found.values()} == {SKIPPED}


def changed(data: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**data, **values}


@pytest.mark.parametrize(
    ("kind", "name", "data", "reason"),
    [
        ("cpu", GRAPHS, changed(fakes.CPU, graphs={"text_head": {"snr_db": 40.0, "finite": True}}),
         "text_head has 40.0 dB of 90"),
        ("cpu", GRAPHS, changed(fakes.CPU, graphs={"text_head": {"snr_db": 99.0, "finite": False}}),
         "text_head is not finite"),
        ("cpu", GRAPHS, changed(fakes.CPU, free_running=[
            {"codes": 256, "equal_codes": 200, "first_difference": 200}]), "56 of 256 codes differ"),
        ("cpu", GRAPHS, changed(fakes.CPU, free_running=[]), "nothing could be painted"),
        ("plans", PLANS, changed(fakes.PLANS, graphs={"text_head": {"logits": {"passed": False}}}),
         "misses its tolerance: text_head logits"),
    ],
)  # fmt: skip
def test_parity_that_is_missed(
    tmp_path: Path, kind: str, name: str, data: dict[str, Any], reason: str
) -> None:
    """The check fails, says what is wrong, and keeps its figures."""
    found = made(tmp_path, FakeRun({kind: failed(6, "does not agree", data)}))
    assert found[name].state == FAILED
    assert reason in found[name].reason
    assert found[name].figures
    assert {c.state for n, c in found.items() if n != name} == {PASSED}


@pytest.mark.parametrize(("precision", "decibels"), [("fp16", 41.0), ("int8", 15.0)])
def test_lower_precision(tmp_path: Path, precision: str, decibels: float) -> None:
    """Codes may differ if a tie is rounded otherwise; integer products have no tolerance."""
    data = changed(
        fakes.CPU, graphs={"text_head": {"snr_db": decibels, "finite": True}},
        free_running=[{"codes": 256, "equal_codes": 3, "first_difference": 3}],
    )  # fmt: skip
    run = FakeRun({"cpu": failed(0, "", data)})
    assert made(tmp_path, run, precision=precision)[GRAPHS].state == PASSED


def test_latency_that_fails(tmp_path: Path) -> None:
    """Without a report the memory is unknown, too; a report that cannot be read is a failure."""
    found = made(tmp_path, FakeRun({"bench": failed(8, "out of memory")}))
    assert (found[LATENCY].state, found[LATENCY].reason) == (FAILED, "out of memory")
    assert found[MEMORY].state == SKIPPED
    found = made(tmp_path, FakeRun(bench="{}"))
    assert found[LATENCY].state == FAILED
    assert "not a report" in found[LATENCY].reason


def test_memory_that_is_not_told(tmp_path: Path) -> None:
    """A backend that does not report its device's memory neither fails nor passes."""
    found = made(tmp_path, FakeRun(bench=bench_json(None)))
    assert found[MEMORY].state == SKIPPED
    assert found[MEMORY].figures["image"]["process_bytes"] == 1 << 30


def test_plans_need_polygraphy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Polygraphy the check of plans is skipped; ONNX Runtime has no plans."""
    assert made(tmp_path, FakeRun(), "ort-cuda")[PLANS].state == SKIPPED
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    found = made(tmp_path, FakeRun())
    assert found[PLANS].state == SKIPPED
    assert "janus-edge[polygraphy]" in found[PLANS].reason
