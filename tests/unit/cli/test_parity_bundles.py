"""`janus-edge parity` between two bundles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus_edge.graphs import Graph
from tests.unit.perturbed import perturb

Run = Callable[..., Any]
MEASURED = [g.value for g in Graph if g is not Graph.GUIDED_SAMPLER]

#: A process in which neither PyTorch nor a tool of the exporter can be imported.
WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "onnx", "onnxscript", "onnx_ir", "safetensors"):
    sys.modules[name] = None
from janus_edge.cli import main
main()
"""


@pytest.fixture
def few(photo: Path) -> list[str]:
    """Options that leave a second of work."""
    return ["--prompt", "a cat", "--prompt", "a dog", "--image", str(photo), "--threads", "1"]


def test_equal_bundles_without_torch(tiny_bundle: Path, few: list[str], tmp_path: Path) -> None:
    """Needs neither PyTorch nor onnx; every figure is perfect and every bar is reached."""
    bars = ["--max-kl", "0", "--min-psnr", "200", "--min-top1", "1"]
    args = ["parity", str(tiny_bundle), str(tiny_bundle), *few, *bars, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *args],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["passed"], data["missed"]) == (True, [])
    assert data["bars"] == {"max_kl": 0, "min_psnr": 200, "min_top1": 1}
    assert list(data["graphs"]) == MEASURED
    assert data["forced"]["guided"]["kl_max"] == 0
    assert data["forced"]["guided"]["rows"] == 32
    assert [run["equal_codes"] for run in data["free_running"]] == [16, 16]


def test_tables(janus_edge: Run, tiny_bundle: Path, copied_bundle: Path, few: list[str]) -> None:
    """Without bars a bundle that is far off is reported and no error."""
    done = janus_edge("parity", tiny_bundle, perturb(copied_bundle, 0.2), *few)
    assert done.code == 0
    lines = done.out.splitlines()
    first_words = [line.split()[0] for line in lines if line.strip()]
    assert [word for word in first_words if word in MEASURED] == MEASURED
    assert "image, guidance 5" in done.out
    assert "KL in nats at temperature 1" in done.out
    assert "image, no guidance" in done.out
    assert "KL in nats" in done.out
    assert len([line for line in lines if line.startswith("painted freely")]) == 2
    assert "first difference at code" in done.out
    assert "note:" not in done.err


@pytest.mark.parametrize(
    ("bar", "message"),
    [
        (["--max-kl", "1e-9"], "the mean KL of guided image logits is"),
        (["--min-psnr", "150"], "the VQ decoder's PSNR is"),
        (["--min-top1", "1"], "the top-1 agreement is"),
    ],
)
def test_missed_bars(
    janus_edge: Run, tiny_bundle: Path, copied_bundle: Path, few: list[str], bar: list[str],
    message: str,
) -> None:  # fmt: skip
    """Exit code 6 behind the full report, and the figure that missed."""
    done = janus_edge("parity", tiny_bundle, perturb(copied_bundle, 0.2), *few, *bar, "--json")
    assert done.code == 6
    assert message in done.error
    data = json.loads(done.out)
    assert data["passed"] is False
    assert len(data["missed"]) == 1
    assert message in data["missed"][0]


def test_values_that_are_not_finite(
    janus_edge: Run, tiny_bundle: Path, copied_bundle: Path, few: list[str]
) -> None:
    """They always fail, and the report is still printed."""
    perturb(copied_bundle, np.inf, (Graph.IMAGE_HEAD,))
    done = janus_edge("parity", tiny_bundle, copied_bundle, *few)
    assert done.code == 6
    assert "image_head has values that are not finite" in done.error
    assert "image, no guidance" in done.out


def test_another_source_is_noted(
    janus_edge: Run, tiny_bundle: Path, copied_bundle: Path, few: list[str]
) -> None:
    path = copied_bundle / "manifest.json"
    data = json.loads(path.read_text("utf-8"))
    data["source"]["digest"] = "f" * 64
    path.write_text(json.dumps(data), "utf-8")
    done = janus_edge("parity", tiny_bundle, copied_bundle, *few, "--steps", "2")
    assert done.code == 0
    assert "note: the bundles were exported from different checkpoints" in done.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--save-trace", "t.npz"], "--save-trace is for a checkpoint"),
        (["--max-kl", "nan"], "--max-kl must be a finite number"),
        (["--min-psnr", "inf"], "--min-psnr must be a finite number"),
        (["--temperature", "0"], "a divergence needs a temperature"),
        (["--guidance-scale", "nan"], "guidance_scale must be within"),
        (["--steps", "17"], "a picture of this model has 16 codes"),
        (["--seed", "-1"], "seed must be from 0"),
        (["--image", "nope.jpg"], "nope.jpg: no such image file"),
    ],
)
def test_unusable_arguments(
    janus_edge: Run, tiny_bundle: Path, args: list[str], message: str
) -> None:
    """Refused before anything is painted."""
    done = janus_edge("parity", tiny_bundle, tiny_bundle, *args)
    assert (done.code, done.out) == (2, "")
    assert message in done.error


def test_another_model(janus_edge: Run, tiny_bundle: Path, copied_bundle: Path) -> None:
    path = copied_bundle / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"rope_theta": 10000.0', '"rope_theta": 9.0'))
    done = janus_edge("parity", tiny_bundle, copied_bundle)
    assert done.code == 2
    assert "language.rope_theta is 9.0 and not 10000.0; compare bundles of one model" in done.error


def test_settings_of_bundles_are_refused_beside_pytorch(
    janus_edge: Run, tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """Bars and several prompts or images are for bundles: ignoring them would be an error."""
    for reference in (tiny_checkpoint, tmp_path / "any.npz"):
        for option in ("--max-kl", "--min-psnr", "--min-top1"):
            done = janus_edge("parity", reference, tiny_bundle, option, "0.5")
            assert done.code == 2
            assert f"{option} is for another bundle" in done.error
    for option in ("--prompt", "--image"):
        done = janus_edge("parity", tiny_checkpoint, tiny_bundle, option, "a", option, "b")
        assert done.code == 2
        assert f"{option} is given 2 times: PyTorch is asked for one" in done.error


def test_missing_sides(janus_edge: Run, tiny_bundle: Path, copied_bundle: Path) -> None:
    """A damaged reference is a bundle's error, as a missing bundle is."""
    assert janus_edge("parity", tiny_bundle, "nope").code == 4
    (copied_bundle / "manifest.json").write_text("{}", "utf-8")
    assert janus_edge("parity", copied_bundle, tiny_bundle).code == 4
