"""The checks of a target: what is asked of which engine, and what passes, fails and is skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_check import checks as module
from benchmarks.gpu_check.checks import (
    BUILD,
    CPU,
    LATENCY,
    MEMORY,
    NAMES,
    PLANS,
    TORCH,
    TargetChecks,
)
from benchmarks.gpu_check.models import Models
from benchmarks.gpu_check.processes import TIMED_OUT, Outcome
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check
from tests.unit.gpu_check import fakes
from tests.unit.gpu_check.fakes import DEVICE, FakeRun, bench_json, failed


@pytest.fixture(autouse=True)
def polygraphy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polygraphy is installed."""
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: object())


def made(
    tmp_path: Path, run: FakeRun, target: str = "tensorrt", precision: str = "fp32"
) -> dict[str, Check]:
    models = Models(tmp_path, run)
    found = [*TargetChecks(target, DEVICE, models, run, tmp_path).of(precision)]
    assert tuple(check.name for check in found) == NAMES, "each is told once, in order"
    assert {check.target for check in found} == {target}
    return {check.name: check for check in found}


def test_all_pass(tmp_path: Path) -> None:
    """Every check has its figures, and every command is of the engine that was built."""
    run = FakeRun()
    found = made(tmp_path, run)
    assert {check.state for check in found.values()} == {PASSED}
    assert found[BUILD].figures["device_weight_bytes"] == 14
    assert found[BUILD].figures["scratch_bytes"] == 100
    assert found[TORCH].figures["equal_codes"] == found[TORCH].figures["steps"] == 9
    assert found[CPU].figures["snr_db"] == {"vq_decoder": 95.0}
    assert found[LATENCY].figures["image"]["step_median_s"] == 1e-3
    assert found[MEMORY].figures == {"image": {"process_bytes": 1 << 30, "device_bytes": 5 << 20}}
    bundle, engine = (str(tmp_path / n) for n in ("miniature-fp32", "miniature-fp32-tensorrt"))
    janus = [call[1:] for call in run.calls]
    assert ("build", bundle, engine, "--target", "tensorrt", "--profile", "rows=2:8",
            "--no-cache", "--json") in janus  # fmt: skip
    assert ("parity", str(tmp_path / "miniature.npz"), engine, "--json") in janus
    assert ("parity", bundle, engine, "--json") in janus
    assert ("parity", bundle, engine, "--engines", "--json") in janus


def test_what_targets_are_told(tmp_path: Path) -> None:
    """TensorRT-RTX builds for this GPU alone; ONNX Runtime takes no profile and has no plans."""
    run = FakeRun()
    made(tmp_path, run, "tensorrt-rtx")
    assert "--compute-capability 8.9 --no-cache" in " ".join(run.calls[1])
    run = FakeRun()
    found = made(tmp_path, run, "ort-cuda")
    assert not {"--profile", "--compute-capability"} & {word for call in run.calls for word in call}
    assert found[PLANS].state == SKIPPED
    assert "plans of TensorRT only" in found[PLANS].reason


def test_prepared_bundles_are_used(tmp_path: Path) -> None:
    """What lies in the folder is not made again: a machine without PyTorch could not."""
    (tmp_path / "miniature-fp32").mkdir()
    (tmp_path / "miniature.npz").write_bytes(b"")
    run = FakeRun({"export": failed(9, "no torch"), "save-trace": failed(9, "no torch")})
    assert made(tmp_path, run)[TORCH].state == PASSED


def test_without_pytorch(tmp_path: Path) -> None:
    """No bundle: all is skipped with the command that prepares one. No trace: only its check."""
    run = FakeRun({"export": failed(9, "the Python package 'torch' is not installed")})
    found = made(tmp_path, run)
    assert {check.state for check in found.values()} == {SKIPPED}
    assert "'torch' is not installed; prepare the folder where PyT" in found[BUILD].reason
    (tmp_path / "miniature-fp32").mkdir()
    found = made(tmp_path, FakeRun({"save-trace": failed(9, "no torch")}))
    assert [name for name, check in found.items() if check.state != PASSED] == [TORCH]
    assert found[TORCH].state == SKIPPED


def test_what_cannot_be_made(tmp_path: Path) -> None:
    """An export that breaks is a failure, whatever is missing is not."""
    found = made(tmp_path, FakeRun({"export": failed(5, "the graphs differ")}))
    assert found[BUILD].state == FAILED
    assert {found[name].state for name in NAMES[1:]} == {SKIPPED}
    (tmp_path / "miniature-fp32").mkdir()
    found = made(tmp_path, FakeRun({"save-trace": failed(-11, "torch")}))
    assert [n for n, check in found.items() if check.state == FAILED] == [TORCH]


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (failed(10, "cannot build the engine"), FAILED, "cannot build the engine"),
        (failed(9, "tensorrt is not installed"), SKIPPED, "tensorrt is not installed"),
        (failed(-11, "last words"), FAILED, "ended by SIGSEGV"),
        (Outcome(TIMED_OUT, "", "", 900.0), FAILED, "did not end within 900 s"),
        (Outcome(0, "no json", "", 1.0), FAILED, "printed no JSON"),
        (Outcome(0, '{"other": 1}', "", 1.0), FAILED, "of another form"),
        (Outcome(1, "", "", 1.0), FAILED, "did not say why"),
    ],
)
def test_engines_that_are_not_built(
    tmp_path: Path, outcome: Outcome, state: str, reason: str
) -> None:
    """The build says why; what needs its engine is skipped, and is not tried."""
    run = FakeRun({"build": outcome})
    found = made(tmp_path, run)
    assert found[BUILD].state == state
    assert reason in found[BUILD].reason
    assert {found[n].state for n in NAMES[1:]} == {SKIPPED}
    assert not {"parity", "bench"} & {call[1] for call in run.calls}


def changed(data: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**data, **values}


@pytest.mark.parametrize(
    ("kind", "name", "data", "reason"),
    [
        ("torch", TORCH, changed(fakes.TORCH, passed=False, equal_codes=8, first_differing_step=4),
         "code at step 4"),
        ("torch", TORCH,
         changed(fakes.TORCH, passed=False, stages={
             "vq_decoder": {"measure": "snr_db", "snr_db": 9.0, "tolerance": 90.0, "passed": False}}),
         "misses its tolerance: vq_decoder"),
        ("cpu", CPU, changed(fakes.CPU, graphs={"text_head": {"snr_db": 40.0, "finite": True}}),
         "text_head has 40.0 dB of 90"),
        ("cpu", CPU, changed(fakes.CPU, graphs={"text_head": {"snr_db": 99.0, "finite": False}}),
         "text_head is not finite"),
        ("cpu", CPU, changed(fakes.CPU, free_running=[
            {"codes": 256, "equal_codes": 200, "first_difference": 200}]), "56 of 256 codes differ"),
        ("cpu", CPU, changed(fakes.CPU, free_running=[]), "nothing could be painted"),
        ("plans", PLANS, changed(fakes.PLANS, graphs={"text_head": {"logits": {"passed": False}}}),
         "misses its tolerance: text_head logits"),
    ],
)  # fmt: skip
def test_parity_that_is_missed(
    tmp_path: Path, kind: str, name: str, data: dict[str, Any], reason: str
) -> None:
    """The check fails with what is wrong and keeps its figures, whatever the command's exit code."""
    for code in (0, 6):
        folder = tmp_path / str(code)
        folder.mkdir()
        found = made(folder, FakeRun({kind: failed(code, "does not agree", data)}))
        assert found[name].state == FAILED
        assert reason in found[name].reason
        assert found[name].figures
        assert {c.state for n, c in found.items() if n != name} == {PASSED}


def test_half_precision(tmp_path: Path) -> None:
    """A float16 code may differ where a tie is rounded otherwise; graphs have float16's tolerance."""
    data = changed(
        fakes.CPU, graphs={"text_head": {"snr_db": 41.0, "finite": True}},
        free_running=[{"codes": 256, "equal_codes": 3, "first_difference": 3}],
    )  # fmt: skip
    run = FakeRun({"cpu": failed(0, "", data)})
    assert made(tmp_path, run, precision="fp16")[CPU].state == PASSED


def test_latency_that_fails(tmp_path: Path) -> None:
    """Without a report nothing is known of the memory either; one that cannot be read fails."""
    found = made(tmp_path, FakeRun({"bench": failed(8, "out of memory")}))
    assert (found[LATENCY].state, found[LATENCY].reason) == (FAILED, "out of memory")
    assert found[MEMORY].state == SKIPPED
    found = made(tmp_path, FakeRun(bench="{}"))
    assert found[LATENCY].state == FAILED
    assert "not a report" in found[LATENCY].reason


def test_memory_that_is_not_told(tmp_path: Path) -> None:
    """A backend that does not tell its device's memory is no failure, but no pass either."""
    found = made(tmp_path, FakeRun(bench=bench_json(None)))
    assert found[MEMORY].state == SKIPPED
    assert found[MEMORY].figures["image"]["process_bytes"] == 1 << 30


def test_plans_need_polygraphy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    found = made(tmp_path, FakeRun())
    assert found[PLANS].state == SKIPPED
    assert "janus-edge[polygraphy]" in found[PLANS].reason
