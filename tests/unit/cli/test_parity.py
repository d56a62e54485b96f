"""`janus-edge parity`: against the checkpoint, and against a trace of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from janus_edge.cli import cli
from janus_edge.graphs import Graph

Run = Callable[..., Any]
STAGES = {graph.value for graph in Graph}

#: A process in which PyTorch and the exporter's other packages cannot be imported.
WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "onnx", "onnxscript", "onnx_ir", "safetensors"):
    sys.modules[name] = None
from janus_edge.cli import main
main()
"""


@pytest.fixture(scope="module")
def trace(
    tiny_checkpoint: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A trace that the command saved, and the figures that it printed with it."""
    path = tmp_path_factory.mktemp("trace") / "tiny.npz"
    args = ["parity", tiny_checkpoint, tiny_bundle, "--json", "--save-trace", path]
    done = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert done.exit_code == 0, done.stderr
    return path, json.loads(done.stdout)


def test_json(trace: tuple[Path, dict[str, Any]]) -> None:
    """Every stage has figures that pass, and all codes of a whole picture are equal."""
    _, data = trace
    assert data["passed"] is True
    assert set(data["stages"]) == STAGES
    assert all(stage["passed"] for stage in data["stages"].values())
    assert (data["steps"], data["equal_codes"], data["first_differing_step"]) == (16, 16, None)
    assert data["float_type"] == "float32"


def test_replay_without_torch(
    trace: tuple[Path, dict[str, Any]], tiny_bundle: Path, tmp_path: Path
) -> None:
    """A machine that cannot import torch replays the trace and finds the same figures."""
    args = ["parity", str(trace[0]), str(tiny_bundle), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *args],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    replayed = json.loads(done.stdout)
    assert replayed["passed"] is True
    assert replayed["steps"] == 16
    for name, stage in replayed["stages"].items():
        first = trace[1]["stages"][name]
        assert (stage["measure"], stage["tolerance"]) == (first["measure"], first["tolerance"])
        assert stage["snr_db"] == pytest.approx(first["snr_db"], abs=3)


def test_checkpoint_without_torch(tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """Without torch a checkpoint cannot be compared or exported: exit code 9 and the extra."""
    for args in (["parity", tiny_checkpoint, tiny_bundle], ["export", tiny_checkpoint, "new"]):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )
        assert done.returncode == 9, done.stderr
        assert "pip install 'janus-edge[export]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_table(janus_edge: Run, trace: tuple[Path, dict[str, Any]], tiny_bundle: Path) -> None:
    """The table has a line per stage and a verdict on the codes."""
    done = janus_edge("parity", trace[0], tiny_bundle)
    assert done.code == 0
    for stage in STAGES:
        line = next(x for x in done.out.splitlines() if x.split()[:1] == [stage])
        assert line.split()[-1] == "pass"
    assert "16 of 16 equal, all equal" in done.out


def test_another_model_fails(
    janus_edge: Run, trace: tuple[Path, dict[str, Any]], copied_bundle: Path
) -> None:
    """A bundle with other weights does not pass: exit code 6, and the stage is shown."""
    path = copied_bundle / "graphs" / "text_head.weights"
    content = path.read_bytes()
    path.write_bytes(content[4:] + content[:4])
    done = janus_edge("parity", trace[0], copied_bundle)
    assert done.code == 4, "an altered bundle is not even compared"
    manifest = copied_bundle / "manifest.json"
    old, new = sha256(content).hexdigest(), sha256(path.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text("utf-8").replace(old, new), "utf-8")
    done = janus_edge("parity", trace[0], copied_bundle)
    assert done.code == 6
    assert "does not agree with PyTorch" in done.error
    line = next(x for x in done.out.splitlines() if "text_head" in x)
    assert line.split()[-1] == "FAIL"


def test_a_few_steps_of_another_generation(
    janus_edge: Run, tiny_checkpoint: Path, tiny_bundle: Path, photo: Path
) -> None:
    """Prompt, image, seed and settings are the user's."""
    done = janus_edge(
        "parity", tiny_checkpoint, tiny_bundle, "--steps", "3", "--prompt", "größer", "--seed",
        str(2**64 - 1), "--temperature", "0", "--guidance-scale", "1", "--image", photo, "--json",
    )  # fmt: skip
    assert done.code == 0
    assert json.loads(done.out)["equal_codes"] == 3


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--steps", "0"], 2, None),
        (["--steps", "-1"], 2, None),
        (["--steps", "17"], 2, "a picture of this model has 16 codes"),
        (["--temperature", "-1"], 2, "a temperature of at least 0"),
        (["--guidance-scale", "nan"], 2, "give finite numbers"),
        (["--image", "nope.jpg"], 2, "nope.jpg: no such image file"),
        (["--save-trace", "no/t.npz"], 2, "give --save-trace a .npz file in an existing folder"),
        (["--save-trace", "t.bin"], 2, "give --save-trace a .npz file in an existing folder"),
    ],
)
def test_unusable_arguments(
    janus_edge: Run, tiny_checkpoint: Path, tiny_bundle: Path, args: list[str], code: int,
    message: str | None,
) -> None:  # fmt: skip
    """What cannot work is said before PyTorch starts."""
    done = janus_edge("parity", tiny_checkpoint, tiny_bundle, *args)
    assert (done.code, done.out) == (code, "")
    assert "━" not in done.err
    if message:
        assert message in done.error


def test_missing_sides(janus_edge: Run, tiny_checkpoint: Path, tiny_bundle: Path) -> None:
    """Each side that is missing is named, the bundle before PyTorch has run for minutes."""
    done = janus_edge("parity", tiny_checkpoint, "nope")
    assert done.code == 4
    assert "━" not in done.err
    assert janus_edge("parity", "./nope", tiny_bundle).code == 3
    assert janus_edge("parity", "nope.npz", tiny_bundle).code == 2


def test_settings_beside_a_trace_are_refused(
    janus_edge: Callable[..., Any], tiny_bundle: Path, tmp_path: Path
) -> None:
    """A trace has its settings in it: an option that would be ignored is an error."""
    done = janus_edge("parity", tmp_path / "any.npz", tiny_bundle, "--steps", "3")
    assert done.code == 2
    assert "--steps is for a checkpoint" in done.err
