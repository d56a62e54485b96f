"""The checks of a target: what is asked of which engine, and what passes, fails and is skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_check.checks import (
    BUILD,
    EVERY,
    PAINTING,
    STEP,
    TORCH,
    TargetChecks,
)
from benchmarks.gpu_check.engine_commands import ATTENTION, CAPACITY, EngineCommands
from benchmarks.gpu_check.models import Models
from benchmarks.gpu_check.processes import NO_TIME, TIMED_OUT, Outcome
from benchmarks.gpu_check.report import FAILED, PASSED, SKIPPED, Check
from tests.unit.gpu_check import fakes
from tests.unit.gpu_check.fakes import DEVICE, FakeRun, bundle, failed


def made(
    tmp_path: Path, run: FakeRun, target: str = "tensorrt", precision: str = "fp16"
) -> dict[str, Check]:
    checks = TargetChecks(EngineCommands(target, DEVICE, run, tmp_path), Models(tmp_path, run))
    found = [*checks.of(precision)]
    assert tuple(check.name for check in found) == EVERY, "each is reported once, in order"
    found += [checks.capacity(precision), checks.torch(precision)]
    assert {check.target for check in found} == {target}
    return {check.name: check for check in found}


def test_all_pass(tmp_path: Path) -> None:
    """Every check has its figures, and every command is of the engine that was built."""
    run = FakeRun()
    found = made(tmp_path, run)
    assert {check.state for check in found.values()} == {PASSED}
    assert found[BUILD].figures["device_weight_bytes"] == 14
    assert found[BUILD].figures["scratch_bytes"] == 100
    assert found[PAINTING].figures["each"][0]["first_difference"] == 120
    assert found[STEP].figures["step_s"] == 2e-3
    assert found[TORCH].figures["equal_codes"] == found[TORCH].figures["steps"] == 9
    source, engine = (str(tmp_path / n) for n in ("miniature-fp16", "miniature-fp16-tensorrt"))
    calls = run.calls
    assert ("janus_edge", "build", source, engine, "--target", "tensorrt", "--profile", "rows=2:8",
            "--json") in calls  # fmt: skip
    reference = str(tmp_path / "miniature-fp16.reference.npz")
    assert ("benchmarks.gpu_check.painting", engine, reference) in calls
    assert ("benchmarks.gpu_check.step_time", engine, source, "--seconds", "3.0") in calls
    assert ("janus_edge", "parity", str(tmp_path / "miniature.npz"), engine, "--json") in calls


def test_capacity(tmp_path: Path) -> None:
    """The step runs on two engines, within the model's positions; ONNX Runtime needs one engine."""
    run = FakeRun()
    found = made(tmp_path, run)[CAPACITY].figures
    assert (found["small"], found["large"]) == (256, 1024)
    assert found["extra_s"] == pytest.approx(768e-9)
    # 10 kB a position at 1 TB/s
    assert found["reading_all_of_it_s"] == pytest.approx(768 * 1e4 / 1e12)
    assert found["costs_by_capacity"] is False
    profiles = [c[c.index("--profile") + 1] for c in run.calls if "--profile" in c]
    assert profiles[1:] == [f"rows=2,prefill=16:64,capacity={n}" for n in (256, 1024)]
    run = FakeRun()
    made(tmp_path, run, "ort-cuda")
    steps = [c[1:] for c in run.calls if c[0].endswith("language_step")]
    assert {engine for engine, *_ in steps} == {str(tmp_path / "miniature-fp16-ort-cuda")}
    assert [w[w.index("--capacity") + 1] for w in steps] == ["256", "1024"]
    assert {w[w.index("--position") + 1] for w in steps} == {"200"}, "filled alike"


def test_what_targets_are_told(tmp_path: Path) -> None:
    """TensorRT-RTX builds for this GPU only. ONNX Runtime takes no profile and has no kernels to
    inspect."""
    run = FakeRun()
    made(tmp_path, run, "tensorrt-rtx")
    assert "--compute-capability 8.9 --json" in " ".join(run.calls[1])
    run = FakeRun()
    found = made(tmp_path, run, "ort-cuda")
    assert not {"--profile", "--compute-capability"} & {word for call in run.calls for word in call}
    assert found[ATTENTION].state == SKIPPED


def test_prepared_bundles_are_used(tmp_path: Path) -> None:
    """What lies in the folder is not made again: a machine without PyTorch could not."""
    bundle(tmp_path / "miniature-fp16")
    for name in ("miniature.npz", "miniature-fp16.reference.npz"):
        (tmp_path / name).write_bytes(b"")
    run = FakeRun({kind: failed(9, "no torch") for kind in ("export", "save-trace", "reference")})
    assert {check.state for check in made(tmp_path, run).values()} == {PASSED}


def test_quantised_bundles(tmp_path: Path) -> None:
    """They are made from the float16 bundle, calibrated once; TensorRT takes symmetric blocks."""
    run, models = FakeRun(), None
    models = Models(tmp_path, run)
    for precision in ("int8", "int4-weight"):
        models.bundle(precision)
    assert run.kinds() == ["export", "calibrate", "quantize", "quantize"]
    assert "--symmetric" in run.calls[-1]
    assert run.calls[-1][2] == str(tmp_path / "miniature-fp16")


def test_without_pytorch(tmp_path: Path) -> None:
    """No bundle: all is skipped with the command that prepares one. No trace: only its check."""
    run = FakeRun({"export": failed(9, "the Python package 'torch' is not installed")})
    found = made(tmp_path, run)
    assert {check.state for check in found.values()} == {SKIPPED}
    assert "'torch' is not installed; prepare the folder where PyT" in found[BUILD].reason
    bundle(tmp_path / "miniature-fp16")
    found = made(tmp_path, FakeRun({"export": failed(9, "no torch")}))
    assert [name for name, check in found.items() if check.state != PASSED] == [TORCH]
    assert found[TORCH].state == SKIPPED


def test_what_cannot_be_made(tmp_path: Path) -> None:
    """A broken export is a failure and a missing package is not; neither is tried twice."""
    run = FakeRun({"export": failed(5, "the graphs differ")})
    found = made(tmp_path, run)
    assert found[BUILD].state == FAILED
    assert {check.state for name, check in found.items() if name != BUILD} == {SKIPPED}
    models = Models(tmp_path, run)
    for _ in range(2):
        with pytest.raises(Exception, match="the graphs differ"):
            models.reference("fp16")
    assert run.kinds().count("export") == 2
    bundle(tmp_path / "miniature-fp16")
    found = made(tmp_path, FakeRun({"reference": failed(-11, "onnxruntime")}))
    assert [n for n, check in found.items() if check.state == FAILED] == [PAINTING]


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (failed(10, "cannot build the engine"), FAILED, "cannot build the engine"),
        (failed(9, "tensorrt is not installed"), SKIPPED, "tensorrt is not installed"),
        (failed(-11, "last words"), FAILED, "ended by SIGSEGV"),
        (Outcome(TIMED_OUT, "", "", 900.0), FAILED, "did not end within 900 s"),
        (Outcome(NO_TIME, "", "the total limit is used up", 0.0), SKIPPED, "the total limit"),
        (Outcome(0, "no json", "", 1.0), FAILED, "printed no JSON"),
        (Outcome(0, '{"other": 1}', "", 1.0), FAILED, "an unexpected form"),
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
    assert {check.state for name, check in found.items() if name != BUILD} == {SKIPPED}
    assert run.kinds() == ["export", "build"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("painting", PAINTING), ("step_time", STEP), ("attention", ATTENTION),
     ("language_step", CAPACITY), ("torch", TORCH)],
)  # fmt: skip
def test_a_crash_costs_one_check(tmp_path: Path, kind: str, name: str) -> None:
    """The other checks run; they leave out only what they need from the crashed one."""
    found = made(tmp_path, FakeRun({kind: failed(-11, "last words")}))
    assert {n for n, check in found.items() if check.state != PASSED} == {name}
    assert "SIGSEGV" in found[name].reason


def changed(data: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**data, **values}


WRONG = changed(fakes.PICTURE, verdict="attention wrong", worst_cosine=0.6)


@pytest.mark.parametrize(
    ("kind", "name", "data", "reason"),
    [
        ("painting", PAINTING, changed(fakes.PAINTING, verdict="attention wrong", each=[WRONG]),
         "attention wrong: cosine 0.9999 at the first code, 0.6000 after"),
        ("painting", PAINTING, changed(fakes.PAINTING, same_bundle=False), "of another bundle"),
        ("torch", TORCH, changed(fakes.TORCH, passed=False, equal_codes=8, first_differing_step=4),
         "code at step 4"),
        ("torch", TORCH,
         changed(fakes.TORCH, passed=False, stages={
             "vq_decoder": {"measure": "snr_db", "snr_db": 9.0, "tolerance": 90.0, "passed": False}}),
         "misses its tolerance: vq_decoder"),
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
